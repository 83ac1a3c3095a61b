"""Image and mask files to arrays, however they were saved.

image    gray, palette, CMYK, transparent or 16 bits; turned by its EXIF orientation  ──►  upright, RGB, 0..1
mask     gray or palette                                                              ──►  the numbers in the file

A mask holds numbers and not colours, so a colour image is refused as a mask.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from ca_seg.errors import BadMask, UnreadableImage, UserError

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_TAG = 0x0112  # EXIF orientation
_TURNED = (5, 6, 7, 8)  # orientations that exchange height and width
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPREAD = {"L;2": 85, "L;4": 17}  # 2- and 4-bit gray PNG: PIL spreads the values over 0..255


class HeldFile(io.BytesIO):
    """A file in memory, with a name for messages: where its content comes from (a table, an archive, the disk).

    Args:
        content: of the file
        name: for messages
    """

    def __init__(self, content: bytes, name: Path | str) -> None:
        super().__init__(content)
        self._name = str(name)

    def __str__(self) -> str:
        return self._name


def read_image(path: Path | str | BinaryIO) -> torch.Tensor:
    """Read an image file.

    16-bit gray is divided by 65535 and not cut to 8 bits. Transparency is dropped and the stored colours are used, as
    in torchvision and OpenCV.

    Args:
        path: of the file, or an open file

    Returns:
        float32 [3, H, W] in 0..1, upright, in the size of the file

    Raises:
        UnreadableImage: for anything that is not a whole image; it names the file
    """
    with _opened(path) as image:
        return _tensor(image, path)


def image_tensor(image: Image.Image, name: str) -> torch.Tensor:
    """A PIL image to float32 [3, H, W] in 0..1, as `read_image` gives it for the file. `name` is for messages."""
    with _named_problems(name):
        return _tensor(image, name)


def _tensor(image: Image.Image, path: Path | str | BinaryIO) -> torch.Tensor:
    turn = _UPRIGHT.get(_orientation(image))
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode in ("I", "F") and not deep:
        raise UnreadableImage(f"{path} holds numbers of unknown range", fix="save it as 8- or 16-bit PNG")
    upright = image if turn is None else image.transpose(turn)
    if deep:
        gray = torch.from_numpy(np.asarray(upright).astype(np.float32)) / 65535
        return gray.expand(3, *gray.shape).contiguous()
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    colours = np.array(upright.convert("RGB"))
    return torch.from_numpy(colours).permute(2, 0, 1).contiguous().float() / 255


def read_size(path: Path | str | BinaryIO) -> tuple[int, int]:
    """Height and width of the upright image, from the header of the file, without decoding it.

    Raises UnreadableImage for an unreadable header. (A file that is cut short later is only noticed by `read_image`.)
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in _TURNED else (height, width)


def read_mask(path: Path | str | BinaryIO) -> np.ndarray:
    """Read the ids in a mask file. Palette masks give palette indices, never colours.

    Args:
        path: of the file, or an open file

    Returns:
        uint8 or uint16 [H, W]

    Raises:
        UnreadableImage: for a file that is not a whole image
        BadMask: for a colour image, because nothing says which number a colour stands for
    """
    with _opened(path) as image:
        mode = image.mode
        tile = getattr(image, "tile", None)
        spread = _SPREAD.get(tile[0].args, 1) if tile and mode == "L" else 1
        ids = np.asarray(image)
    if mode in ("L", "P", "1"):
        return ids.astype(np.uint8) // np.uint8(spread)
    if mode.startswith("I") and ids.min() >= 0 and ids.max() <= 65535:
        return ids.astype(np.uint16)
    raise BadMask(
        f"{path} is an image of mode {mode}, not a mask of class ids",
        allowed="8- or 16-bit gray, or palette",
        fix="save one number per pixel (in palette mode it is still shown in colours)",
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8, from the header alone; 1 (upright) where the EXIF note is broken, as viewers do."""
    try:
        if image.format != "PNG":
            return image.getexif().get(_TAG, 1)
        exif = Image.Exif()  # image.getexif() would decode a PNG to search behind its pixels
        exif.load(image.info.get("exif", b""))
        return exif.get(_TAG, 1)
    except (*_BROKEN, KeyError, TypeError):
        return 1


@contextmanager
def _opened(path: Path | str | BinaryIO) -> Iterator[Image.Image]:
    """An image file, not yet decoded."""
    with _named_problems(path), Image.open(path) as image:
        yield image


@contextmanager
def _named_problems(path: Path | str | BinaryIO) -> Iterator[None]:
    """Every way in which an image can be broken ends in an UnreadableImage that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path} is missing") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is not an image", fix="replace it, or take it out of the folder") from error
    except _BROKEN as error:
        raise UnreadableImage(f"{path} cannot be read ({error})", fix="replace the file") from error
