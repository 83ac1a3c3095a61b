"""Which files are images, and which images a folder holds. Nothing heavy is imported here."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ca_seg.errors import BadDataset, UnreadableImage

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm", ".avif",
    ".heic", ".heif", ".hif",
)  # fmt: skip


MAX_NAME_BYTES = 240  # of a folder or file: file systems allow 255, and results add an ending and ".part"


def has_image_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def frame_order(name: str) -> tuple[list[tuple[str, int]], str]:
    """The sort key of a frame's file name, in which numbers are numbers: frame2 comes before frame10.

    Example:
        >>> sorted(["frame10.png", "frame2.png"], key=frame_order)
        ['frame2.png', 'frame10.png']
    """
    parts = re.findall(r"([^0-9]*)([0-9]*)", os.path.splitext(name)[0])
    return [(text, int(digits or 0)) for text, digits in parts], name


def images_below(folder: Path) -> Iterator[str]:
    """Paths, relative to `folder`, of the images in it and its sub-folders.

    In each folder its images come first, then its sub-folders, both in the order of their names. Files and folders
    whose name begins with a dot are skipped, and so are files with another suffix than IMAGE_SUFFIXES.

    Raises:
        BadDataset: for a folder that cannot be read, a link that leads out of `folder`, and a link to a folder (it may
            lead in circles)
    """
    return _walk(folder, folder, "")


def lies_within(path: Path, folder: Path) -> bool:
    """Whether a path, with all links followed, is in `folder`. (A link in a circle stays where it is.)"""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:  # a zero byte: it is nowhere
        return False


def open_regular(path: str | Path) -> BinaryIO:
    """A file, opened for reading. Raises UnreadableImage for a folder, a pipe and a device; the last may never end."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImage(f"{path} is a folder", allowed="a file")
        if not stat.S_ISREG(mode):
            raise UnreadableImage(f"{path} is a pipe or a device", allowed="a file", fix="copy its content to a file")
        return open(path, "rb")
    except UnreadableImage:
        raise
    except FileNotFoundError as problem:
        raise UnreadableImage(f"{path} is missing") from problem
    except OSError as problem:
        raise UnreadableImage(f"{path} cannot be read ({problem.strerror})") from problem
    except ValueError as problem:  # a zero byte in the name
        raise UnreadableImage(f"{path!r} cannot be the name of a file ({problem})") from problem


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
        if (entry.is_symlink() or entry.is_file()) and has_image_suffix(entry.name):
            yield prefix + entry.name
    for entry in entries:
        if not entry.is_symlink() and entry.is_dir():
            yield from _walk(Path(entry.path), root, f"{prefix}{entry.name}/")


def _check_link(link: Path, root: Path) -> None:
    if not lies_within(link, root):
        raise BadDataset(f"{link} leads out of {root}", fix="copy the images there, or give the folder it leads to")
    if link.is_dir():
        raise BadDataset(f"{link} is a link to a folder, which may lead in circles", fix="remove it")
