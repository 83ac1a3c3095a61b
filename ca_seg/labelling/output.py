"""The folder that a format writes into: per-image files, small pieces, and dataset files streamed from the pieces.

FOLDER/<place>/<key>.<ending>     a label file of one image
FOLDER/.pieces/<key>.json         what the dataset's files need to know of it; kept, so that a run can go on
FOLDER/<name>.json                assembled from the pieces, in the order of the keys

Nothing grows with the dataset but the names of one folder at a time, which must be sorted.
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
from ca_seg.errors import UserError
from ca_seg.labelling.keys import check_text
from ca_seg.labelling.label import Label

PIECES = ".pieces"
MOST_CLASSES = 254  # as in the data: indices 0..253 and the void fit an 8-bit mask


@dataclass(frozen=True)
class Output:
    """A folder and the names of its K classes."""

    folder: Path
    classes: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, classes: Sequence[str]) -> Output:
        """Raises UserError for no class, more than 254, one that is empty or stands twice, or odd characters."""
        names = tuple(classes)
        if not 1 <= len(names) <= MOST_CLASSES:
            raise UserError(f"{len(names)} classes", allowed=f"1 to {MOST_CLASSES}")
        for name in names:
            if not name.strip():
                raise UserError("a class has no name", fix="give every class a word")
            check_text(name, "the class")
            if names.count(name) > 1:
                raise UserError(f"the class {name!r} stands twice", fix="remove one of them")
        return cls(Path(folder), names)

    def path(self, relative: str) -> Path:
        """A path inside the folder. Raises UserError where it leads out of it, as through a link in the folder."""
        path = self.folder / relative
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise UserError(f"{path} leads out of {self.folder}", fix="remove the link in the output folder")
        return path

    def text(self, relative: str, text: str) -> str:
        """Write UTF-8 text; gives `relative`."""
        with atomic_write(self.path(relative)) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
        return relative

    def json(self, relative: str, content: Any) -> str:
        """Write JSON as people read it; gives `relative`."""
        return self.text(relative, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def png(self, relative: str, pixels: np.ndarray, palette: bytes | None = None, *, compression: int = 6) -> str:
        """Write uint8 [H, W] (gray, or indices into 256 colours) or [H, W, 3] as a PNG; gives `relative`.

        `compression` is zlib's, 1 (quick) to 9.
        """
        image = Image.fromarray(pixels)
        if palette is not None:
            image = Image.frombytes("P", image.size, pixels.tobytes())
            image.putpalette(palette)
        with atomic_write(self.path(relative)) as part:
            image.save(part, format="PNG", compress_level=compression)
        return relative

    def piece(self, label: Label, content: Mapping[str, Any]) -> None:
        """Keep what the dataset's files need of one image. Written last: a piece means that its files are there."""
        with atomic_write(self.path(f"{PIECES}/{label.key}.json")) as part:
            part.write_text(json.dumps(content), encoding="utf-8")

    def pieces(self) -> Iterator[tuple[str, Any]]:
        """All (key, content) on disk, sorted by `key_order`. Raises UserError for a piece that is no JSON."""
        yield from _pieces(self.folder / PIECES, "")

    def stream(self, relative: str, content: Mapping[str, Any]) -> str:
        """Write a JSON object; an iterator among its values becomes a list, one item a line. Gives `relative`."""
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
        """Write a JSON list, one item a line; gives `relative`."""
        with self._opened(relative) as file:
            _write_list(file, items)
            file.write("\n")
        return relative

    def stream_lines(self, relative: str, lines: Iterator[str]) -> str:
        """Write text that comes line by line, each with its end; gives `relative`."""
        with self._opened(relative) as file:
            file.writelines(lines)
        return relative

    @contextmanager
    def _opened(self, relative: str) -> Iterator[TextIO]:
        with atomic_write(self.path(relative)) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
            yield file


def _write_list(file: TextIO, items: Iterator[Any]) -> None:
    file.write("[")
    for place, item in enumerate(items):
        file.write((",\n" if place else "\n") + json.dumps(item, ensure_ascii=False))
    file.write("\n]")


def _pieces(folder: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir()) for entry in entries]
    ordered = sorted((name if is_dir else name.removesuffix(".json"), is_dir, name) for name, is_dir in found)
    for image_id, is_dir, name in ordered:
        path = folder / name
        if is_dir:
            yield from _pieces(path, f"{prefix}{name}/")
        elif name.endswith(".json"):  # and not the half of one that a killed run left
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as problem:
                raise UserError(
                    f"{path} is not readable JSON ({problem})", fix="remove it and label the image again"
                ) from problem
            yield f"{prefix}{image_id}", content
