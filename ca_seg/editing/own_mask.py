"""A mask of the user's in place of the words': a file, a picture or an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ca_seg.data.read import read_mask
from ca_seg.errors import BadMask


def read_own_mask(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask of the user's: bool [H, W], True where the file or picture is not 0.

    Raises BadMask for another size than the photograph's, for colours, and where all is 0; UnreadableImage for a broken
    file.
    """
    if isinstance(mask, str | Path):
        numbers, name = read_mask(mask), str(mask)
    elif isinstance(mask, Image.Image):
        if mask.mode not in ("1", "L", "P"):
            raise BadMask(f"the mask has mode {mask.mode}", allowed="1, L or P", fix='convert it: mask.convert("L")')
        numbers, name = np.asarray(mask), "the mask"
    else:
        numbers, name = np.asarray(mask), "the mask"
        if numbers.ndim != 2 or numbers.dtype.kind not in "bui":
            raise BadMask(f"a mask of shape {numbers.shape}, {numbers.dtype}", allowed="bool or integers [H, W]")
    if numbers.shape != size:
        height, width = numbers.shape
        raise BadMask(
            f"{name} has {width} x {height} pixels, the photograph {size[1]} x {size[0]}", allowed="the same size"
        )
    inside: np.ndarray = numbers != 0
    if not inside.any():
        raise BadMask(f"{name} is 0 everywhere", allowed="0 outside, any other number inside")
    return inside
