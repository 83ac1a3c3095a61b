"""A PIL image as upright RGB pixels in 0..1, however it was saved.

gray, palette, CMYK, transparent, 16 bits, float in 0..1    ──►  RGB
an orientation in EXIF (JPEG, PNG, WebP, AVIF ...)          ──►  turned here
an orientation tag in TIFF, the rotation of HEIC            ──►  turned by the decoder, so not a second time
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import torch
from PIL import Image

from ca_seg.errors import UnreadableImage

BROKEN = (  # what decoders raise
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
_TAG, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101  # of EXIF and TIFF: orientation and the stored size
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


def upright_tensor(image: Image.Image, name: str) -> torch.Tensor:
    """A PIL image as float32 [3, H, W] in 0..1, upright.

    16-bit gray is divided by 65535 and not cut to 8 bits. Transparency is dropped and the stored colours are used, as
    in torchvision and OpenCV.

    Args:
        image: of any mode
        name: for messages

    Raises:
        UnreadableImage: for integers and floats whose range is not that of an image
    """
    load(image)
    turn = _UPRIGHT.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    gray = _gray(upright, name, png=image.format == "PNG")
    if gray is not None:
        return torch.from_numpy(gray).expand(3, *gray.shape).contiguous()
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    colours = np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))
    return torch.from_numpy(colours).permute(2, 0, 1).contiguous().float().div_(255)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of the upright image, from its header, without decoding it."""
    orientation, (width, height) = _orientation(image), image.size
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    if tags and _WIDTH in tags and _HEIGHT in tags:  # versions of Pillow differ in whether `size` is the stored one
        width, height = tags[_WIDTH], tags[_HEIGHT]
        orientation = tags.get(_TAG, 1)
    return (width, height) if orientation in _TURNED else (height, width)


def load(image: Image.Image) -> None:
    """Decode an image. Pillow turns a TIFF by its tag while it does so, and removes the tag.

    Pillow maps an uncompressed TIFF into memory by its file's name, and then scrambles it where a turn exchanges its
    sides; without a name it reads the file instead.
    """
    filename = getattr(image, "filename", "")
    if image.format != "TIFF" or not filename:
        image.load()
        return
    image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        image.filename = filename  # type: ignore[attr-defined]


def _gray(image: Image.Image, name: str, *, png: bool) -> np.ndarray | None:
    """float32 [H, W] of an image with more than 8 bits; None: it has 8."""
    if image.mode.startswith("I;16") or (image.mode == "I" and png):
        return np.asarray(image).astype(np.float32) / 65535
    if image.mode not in ("I", "F"):
        return None
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:  # not for NaN
        return values.astype(np.float32)
    kind = "floats" if image.mode == "F" else "32-bit integers"
    raise UnreadableImage(
        f"{name} holds {kind} from {low:g} to {high:g}",
        allowed="8 or 16 bits, or floats from 0 to 1",
        fix="scale its values and save it again",
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8, from the header alone; 1 (upright) where the EXIF note is broken, as viewers do."""
    try:
        if image.format != "PNG":
            return image.getexif().get(_TAG, 1)
        exif = Image.Exif()  # image.getexif() would decode a PNG to search behind its pixels
        exif.load(image.info.get("exif", b""))
        return exif.get(_TAG, 1)
    except BROKEN:
        return 1
