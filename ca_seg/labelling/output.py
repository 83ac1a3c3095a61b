"""The folder that a format writes into: per-image files, small pieces, and dataset files streamed from the pieces.

FOLDER/<kind>/<key>.<ending>      a label file of one image
FOLDER/.pieces/<key>.json         what the dataset's files say about the image; stays, so that a run can be resumed
FOLDER/<name>.json                assembled from the pieces, in the order of the keys

Memory holds one piece, and the file names of one folder at a time, which must be sorted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import read_json
from ca_seg.data.image_files import lies_within
from ca_seg.errors import UserError
from ca_seg.labelling.keys import check_text
from ca_seg.labelling.label import Label

PIECES = ".pieces"
MAX_CLASSES = 254  # as in the data: indices 0..253 and the void fit an 8-bit mask


@dataclass(frozen=True)
class Output:
    """The folder of a format, and the names of the K classes."""

    folder: Path
    classes: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, classes: Sequence[str]) -> Output:
        """Check the class names.

        Raises UserError for no class, more than 254, an empty name, the same name twice, and characters that files
        cannot hold.
        """
        names = tuple(classes)
        if not 1 <= len(names) <= MAX_CLASSES:
            raise UserError(f"{len(names)} classes", allowed=f"1 to {MAX_CLASSES}")
        for name in names:
            if not name.strip():
                raise UserError("a class has no name", fix="give every class a word")
            check_text(name, "the class")
            if names.count(name) > 1:
                raise UserError(f"the class {name!r} is named twice", fix="remove one of them")
        return cls(Path(folder), names)

    def path(self, relative: str) -> Path:
        """A path inside the folder. Raises UserError where it leads out of it, for example through a link."""
        path = self.folder / relative
        if not lies_within(path, self.folder):
            raise UserError(f"{path} leads out of {self.folder}", fix="remove the link in the output folder")
        return path

    def text(self, relative: str, text: str) -> str:
        """Write UTF-8 text; returns `relative`."""
        with atomic_write(self.path(relative)) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
        return relative

    def json(self, relative: str, content: Any) -> str:
        """Write indented JSON; returns `relative`."""
        return self.text(relative, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def png(self, relative: str, pixels: np.ndarray, palette: bytes | None = None, *, compression: int = 6) -> str:
        """Write a PNG; returns `relative`.

        Args:
            relative: the file
            pixels: uint8 [H, W], gray or indices into the palette, or uint8 [H, W, 3]
            palette: red, green and blue of 256 colours
            compression: of zlib, 1 (fast) to 9
        """
        image = Image.fromarray(pixels)
        if palette is not None:
            image = Image.frombytes("P", image.size, pixels.tobytes())
            image.putpalette(palette)
        with atomic_write(self.path(relative)) as part:
            image.save(part, format="PNG", compress_level=compression)
        return relative

    def piece(self, label: Label, content: Mapping[str, Any]) -> None:
        """Write what the dataset's files say about one image. To be written last: it means that its files exist."""
        with atomic_write(self.path(f"{PIECES}/{label.key}.json")) as part:
            part.write_text(json.dumps(content), encoding="utf-8")

    def pieces(self) -> Iterator[tuple[str, Any]]:
        """(key, content) of all pieces on disk, sorted by `key_order`. Raises UserError for one that is not JSON."""
        yield from _pieces(self.folder / PIECES, "")

    def stream(self, relative: str, content: Mapping[str, Any]) -> str:
        """Write a JSON object; iterators among its values become lists, one item per line. Returns `relative`."""
        with self._opened(relative) as file:
            for number, (name, value) in enumerate(content.items()):
                file.write(("{" if number == 0 else ",\n") + json.dumps(name) + ": ")
                if isinstance(value, Iterator):
                    _write_list(file, value)
                else:
                    file.write(json.dumps(value, ensure_ascii=False))
            file.write("}\n")
        return relative

    def stream_list(self, relative: str, items: Iterator[Any]) -> str:
        """Write a JSON list, one item per line; returns `relative`."""
        with self._opened(relative) as file:
            _write_list(file, items)
            file.write("\n")
        return relative

    def stream_lines(self, relative: str, lines: Iterator[str]) -> str:
        """Write lines of text, each with its line end; returns `relative`."""
        with self._opened(relative) as file:
            file.writelines(lines)
        return relative

    @contextmanager
    def _opened(self, relative: str) -> Iterator[TextIO]:
        with atomic_write(self.path(relative)) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
            yield file


def _write_list(file: TextIO, items: Iterator[Any]) -> None:
    file.write("[")
    for index, item in enumerate(items):
        file.write((",\n" if index else "\n") + json.dumps(item, ensure_ascii=False))
    file.write("\n]")


def _pieces(folder: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir()) for entry in entries]
    ordered = sorted((name if is_dir else name.removesuffix(".json"), is_dir, name) for name, is_dir in names)
    for last_part, is_dir, name in ordered:
        path = folder / name
        if is_dir:
            yield from _pieces(path, f"{prefix}{name}/")
        elif name.endswith(".json"):  # and not the partial one that a killed run leaves
            try:
                content = read_json(path)
            except (OSError, ValueError) as problem:
                raise UserError(
                    f"{path} is not readable JSON ({problem})", fix="remove it and label the image again"
                ) from problem
            yield f"{prefix}{last_part}", content
