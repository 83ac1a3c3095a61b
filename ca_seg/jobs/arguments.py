"""Checks of what is given to a job, before anything is loaded or computed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from ca_seg.errors import UserError

Settings = TypeVar("Settings")


def checked_settings(settings: Settings | None, default: Settings) -> Settings:
    """The settings, or `default` for None. Raises UserError for anything of another type."""
    if settings is None:
        return default
    kind = type(default)
    if not isinstance(settings, kind):
        raise UserError(f"settings is {settings!r}", allowed=f"a {kind.__name__}, or None")
    return settings


def check_folder(folder: str | Path | None) -> None:
    """Raises UserError for a folder to which nothing can be written: it would be noticed only after the computation."""
    if folder is None:
        return
    existing = Path(folder)
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be a folder: {existing} is a file", fix="give another out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written: {existing} is read-only", fix="give another out")
    try:
        tempfile.TemporaryFile(dir=existing).close()  # /proc and full disks only say so here
    except OSError as problem:
        raise UserError(f"{folder} cannot be written ({problem.strerror})", fix="give another out") from problem


def check_file(file: str | Path) -> None:
    """Raises UserError for a file that cannot be written: a folder, or one in what is no folder."""
    if Path(file).is_dir():
        raise UserError(f"{file} is a folder", allowed="a file", fix="give out a file's name")
    check_folder(Path(file).parent)


def check_path(name: str, value: Any) -> None:
    """Raises UserError for an argument that is no path: `None`, a number."""
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name} is {value!r}", allowed="a path")
