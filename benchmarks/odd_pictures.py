"""Pictures as they come from cameras, scanners and broken downloads, for benchmarks/soak.py.

Nineteen of twenty are good. The others are odd in the ways of `ODD`, each with what must become of it:

    labelled    it is a picture, however odd
    skipped     it is named like a picture and cannot be read as one: it is reported
    ignored     it is no file, so no picture: a folder or a pipe with a picture's name
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((40, 56), (48, 48), (64, 40), (33, 47))  # height, width
GOOD = (".png", ".jpg", ".webp", ".bmp", ".tif")
EVERY = 20  # one of so many is odd
Write = Callable[[Path, Image.Image], object]


def _truncated(path: Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])


def _broken_exif(path: Path, image: Image.Image) -> None:
    image.save(path, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")


def _sixteen_bits(path: Path, image: Image.Image) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def _huge_header(path: Path, image: Image.Image) -> None:
    """A PNG of 60,000 x 60,000 pixels in 57 bytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IEND", b""))
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _animated(path: Path, image: Image.Image) -> None:
    image.save(path, "GIF", save_all=True, append_images=[image.rotate(90), image])


def _link(path: Path, image: Image.Image) -> None:
    """To a picture in a hidden folder beside it."""
    target = path.parent / ".kept" / path.name
    target.parent.mkdir(exist_ok=True)
    image.save(target)
    path.symlink_to(target.relative_to(path.parent))


ODD: dict[str, tuple[str, str, Write]] = {  # way: the ending, what becomes of it, how it is written
    "truncated": (".png", "skipped", _truncated),
    "zero bytes": (".jpg", "skipped", lambda path, image: path.write_bytes(b"")),
    "text": (".png", "skipped", lambda path, image: path.write_text("404 Not Found")),
    "noise": (".jpg", "skipped", lambda path, image: path.write_bytes(bytes(range(256)) * 8)),
    "huge header": (".png", "skipped", _huge_header),
    "stretched": (".png", "skipped", lambda path, image: image.resize((400, 4)).save(path)),
    "dangling link": (".png", "skipped", lambda path, image: path.symlink_to("nothing.png")),
    "wrong ending": (".png", "labelled", lambda path, image: image.save(path, "JPEG")),
    "broken EXIF": (".jpg", "labelled", _broken_exif),
    "CMYK": (".jpg", "labelled", lambda path, image: image.convert("CMYK").save(path)),
    "16 bits": (".png", "labelled", _sixteen_bits),
    "one pixel": (".png", "labelled", lambda path, image: image.resize((1, 1)).save(path)),
    "black and white": (".png", "labelled", lambda path, image: image.convert("1").save(path)),
    "palette": (".png", "labelled", lambda path, image: image.convert("P").save(path, transparency=0)),
    "transparent": (".png", "labelled", lambda path, image: image.convert("RGBA").save(path)),
    "animated": (".gif", "labelled", _animated),
    "link": (".png", "labelled", _link),
    "folder": (".png", "ignored", lambda path, image: path.mkdir()),
    "pipe": (".jpg", "ignored", lambda path, image: os.mkfifo(path)),
}


def write_pictures(count: int, folder: Path) -> dict[str, str]:
    """Write `count` pictures of coloured blocks into `folder`, 1,000 in each sub-folder.

    Returns what must become of each, by its path in `folder`.
    """
    rng, expected, ways = np.random.default_rng(0), {}, list(ODD.items())
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
        ending, outcome, write = GOOD[number % len(GOOD)], "labelled", Image.Image.save
        name = f"{number // 1000:03d}/{number:06d}"
        if number % EVERY == EVERY - 1:
            way, (ending, outcome, odd) = ways[number // EVERY % len(ways)]
            name, write = f"{name} {way}", lambda image, path, odd=odd: odd(path, image)
        path = folder / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(image, path)
        expected[path.relative_to(folder).as_posix()] = outcome
    return expected
