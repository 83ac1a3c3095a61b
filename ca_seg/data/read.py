"""Image and mask files to arrays, however they were saved.

image    gray, palette, CMYK, transparent or 16 bits; turned by its EXIF orientation  ──►  upright, RGB, 0..1
mask     gray or palette                                                              ──►  the numbers in the file

A mask holds numbers and not colours, so a colour image is refused as a mask.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from ca_seg.data.heif import know_heif
from ca_seg.data.image_files import open_regular
from ca_seg.errors import BadMask, UnreadableImage, UserError
from ca_seg.pixels import BROKEN, upright_size, upright_tensor

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

    `ca_seg.pixels` says what becomes of other depths, transparency and orientation.

    Args:
        path: of the file, or an open file

    Returns:
        float32 [3, H, W] in 0..1, upright, in the size of the file

    Raises:
        UnreadableImage: for anything that is not a whole image; it names the file
    """
    with _opened(path) as image:
        return upright_tensor(image, str(path))


def image_frames(path: Path | str) -> Iterator[tuple[torch.Tensor, float]]:
    """The frames of an image file, one by one, as `read_image` gives the first; and how long each is shown, in ms.

    Raises UnreadableImage for anything that is not a whole image.
    """
    with _opened(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frame = upright_tensor(image, str(path))
            yield frame, float(image.info.get("duration") or 0)


def image_tensor(image: Image.Image, name: str) -> torch.Tensor:
    """A PIL image to float32 [3, H, W] in 0..1, as `read_image` gives it for the file. `name` is for messages."""
    with _named_problems(name):
        return upright_tensor(image, name)


def read_size(path: Path | str | BinaryIO) -> tuple[int, int]:
    """Height and width of the upright image, from the header of the file, without decoding it.

    Raises UnreadableImage for an unreadable header. (A file that is cut short later is only noticed by `read_image`.)
    """
    with _opened(path) as image:
        return upright_size(image)


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


@contextmanager
def _opened(path: Path | str | BinaryIO) -> Iterator[Image.Image]:
    """An image file, not yet decoded."""
    with _named_problems(path):
        if not isinstance(path, str | Path):
            know_heif(path, str(path))
            with Image.open(path) as image:
                yield image
            return
        with open_regular(path) as file:
            know_heif(file, str(path))
            with Image.open(file) as image:
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
    except BROKEN as error:
        raise UnreadableImage(f"{path} cannot be read ({error})", fix="replace the file") from error
