"""Outputs never replace inputs, however their paths are written: files are compared, and not names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ca_seg.errors import UserError


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that no output would replace an input.

    Args:
        outputs: files that will be written; those that do not exist yet are fine
        inputs: files that are read

    Raises:
        UserError: for an output that is an input, also through a link, and where letter cases are one
    """
    existing = [path for path in outputs if os.path.lexists(path)]
    if not existing:
        return
    files = {_identity(path): path for path in inputs if path.exists()}
    for path in existing:
        same = files.get(_identity(path)) if path.exists() else None
        if same is not None:
            raise UserError(f"{path} would replace the input {same}", fix="give another out")


def check_apart(out: Path, folder: Path) -> None:
    """Raises UserError for an output folder inside an input folder: the next run would take its outputs for inputs."""
    here = Path(os.path.abspath(out))
    for place in (here, *here.parents, *Path(os.path.realpath(out)).parents):
        if place.exists() and _identity(place) == _identity(folder):
            raise UserError(
                f"{out} is inside {folder}, whose images are read",
                fix="give an out elsewhere: its files would be read too",
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
