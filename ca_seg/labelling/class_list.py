"""The class list of a format's folder. Labels hold the numbers of classes, so a folder has one list for all its images.

FOLDER/.classes     the names in the order of their numbers, as JSON; written before the first label

The labels of `ca-seg label` have no such file: there the folder above has the settings of the run, with its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ca_seg.bounded_files import read_json
from ca_seg.errors import UserError
from ca_seg.labelling.output import Output

FILE = ".classes"  # no ending: no label file of an image can have this name
OTHER_FOLDER = "give another out"


def check_class_list(folder: Path, classes: Sequence[str]) -> None:
    """Check that labels of these classes may be written into a format's folder.

    Raises UserError for a folder that has labels of another class list, or files and no class list.
    """
    file = folder / FILE
    try:
        if not folder.is_dir():
            return
        if not file.exists():
            others = sorted(path.name for path in folder.iterdir() if path.name != f"{FILE}.part")
            if others:
                raise UserError(
                    f"{folder} holds {others[0]!r}, and no list of the classes that its labels are of",
                    fix=OTHER_FOLDER,
                )
            return
        former = read_json(file)
    except (OSError, ValueError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"{file} cannot be read ({problem})", fix=OTHER_FOLDER) from problem
    if former != list(classes):
        names = ", ".join(map(str, former)) if isinstance(former, list) else repr(former)
        raise UserError(
            f"{folder} holds labels of the classes {names}, and these are of the classes {', '.join(classes)}",
            fix=OTHER_FOLDER,
        )


def write_class_list(folder: Path, classes: Sequence[str]) -> None:
    """Take a format's folder for labels of these classes. Raises as `check_class_list` and `Output.of`."""
    check_class_list(folder, classes)
    output = Output.of(folder, classes)
    if not (folder / FILE).exists():
        output.json(FILE, list(classes))
