"""Which files are images, and which images a folder holds. Nothing heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ca_seg.errors import BadDataset

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm", ".avif",
)  # fmt: skip


def has_image_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def images_below(folder: Path) -> Iterator[str]:
    """Paths, relative to `folder`, of the images in it and its sub-folders.

    In each folder its images come first, then its sub-folders, both in the order of their names. Files and folders
    whose name begins with a dot are skipped, and so are files with another suffix than IMAGE_SUFFIXES.

    Raises:
        BadDataset: for a folder that cannot be read, a link that leads out of `folder`, and a link to a folder (it may
            lead in circles)
    """
    return _walk(folder, folder.resolve(), "")


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(
                (entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
    except OSError as problem:
        raise BadDataset(f"{folder} cannot be read ({problem.strerror})") from problem
    for entry in entries:
        if entry.is_symlink():
            _check_link(Path(entry.path), root)
        if (entry.is_file() or entry.is_symlink()) and has_image_suffix(entry.name):
            yield prefix + entry.name
    for entry in entries:
        if entry.is_dir():
            yield from _walk(Path(entry.path), root, f"{prefix}{entry.name}/")


def _check_link(link: Path, root: Path) -> None:
    if not link.resolve().is_relative_to(root):
        raise BadDataset(f"{link} leads out of {root}", fix="copy the images there, or give the folder it leads to")
    if link.is_dir():
        raise BadDataset(f"{link} is a link to a folder, which may lead in circles", fix="remove it")
