"""The files that come with ca_seg: scenes, photographs, weights, configs.

installed           ca_seg/_shipped/datasets/scenes
run from source     datasets/scenes, beside the package
"""

from __future__ import annotations

from pathlib import Path

from ca_seg.errors import BadDataset, UserError, WeightsUnavailable

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_shipped", _PACKAGE.parent)


def resource_path(*parts: str) -> Path:
    """The path of a shipped file or folder.

    Args:
        parts: of its path

    Raises:
        WeightsUnavailable: for what is missing under checkpoints
        BadDataset: for what is missing under datasets
        UserError: for what is missing elsewhere, and for a path that leaves the shipped files ("..", an absolute path)

    Example:
        >>> resource_path("datasets", "scenes")
    """
    relative = Path(*parts)
    if not parts or relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{str(relative)!r} is not the name of a shipped file", allowed="a path without '..'")
    for root in _ROOTS:
        if (root / relative).exists():
            return root / relative
    kind = {"checkpoints": WeightsUnavailable, "datasets": BadDataset}.get(relative.parts[0], UserError)
    raise kind(
        f"{relative.as_posix()}, which comes with ca_seg, is missing (looked in {', '.join(map(str, _ROOTS))})",
        fix="install ca_seg again, or run it from a whole copy of its source",
    )


def shipped_config(file: Path) -> Path:
    """`file`, or the shipped config of that name where `file` is missing and begins with configs/.

    So the paths in the documentation work in any working folder.
    """
    if file.is_file() or file.parts[:1] != ("configs",):
        return file
    shipped = resource_path("configs") / Path(*file.parts[1:])
    return shipped if shipped.is_file() else file
