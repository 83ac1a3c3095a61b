"""Masks as palette PNG files, which every tool reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.visual.palette import png_palette


def write_mask(path: Path, mask: np.ndarray, to_ids: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write a mask atomically.

    Args:
        path: of the PNG file; its folder is created
        mask: class indices [H, W]
        to_ids: turns class indices into the ids of the file: uint8 for a palette PNG, in which id 0 is black and id n
            has the colour of class n - 1, or uint16 for a 16-bit gray PNG

    Raises:
        UserError: naming the path, when it cannot be written
    """
    ids = to_ids(mask)
    image = Image.fromarray(ids)
    if ids.dtype == np.uint8:
        image = Image.fromarray(ids, mode="P")
        image.putpalette(png_palette(shift=1))
    with atomic_write(path) as part:
        image.save(part, format="PNG")
