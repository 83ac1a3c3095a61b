"""Masks as files that every tool reads: 8-bit palette PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.visual.palette import palette_bytes


def write_mask(path: Path, mask: np.ndarray, to_ids: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write class indices [H, W] as ids. The file is whole or not there: it is written beside and then renamed.

    uint16 ids are written as a 16-bit gray PNG, for a palette has 256 entries. Raises UserError naming the path when it
    cannot be written.
    """
    ids = to_ids(mask)
    image = Image.fromarray(ids)
    if ids.dtype == np.uint8:
        image = Image.fromarray(ids, mode="P")
        image.putpalette(palette_bytes(shift=1))
    with atomic_write(path) as part:
        image.save(part, format="PNG")
