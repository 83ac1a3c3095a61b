"""Masks as files that every tool reads: 8-bit palette PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.visual.palette import palette_bytes
from ca_seg.written import written


def write_mask(path: Path, mask: np.ndarray, to_ids: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write class indices [H, W] as ids. The file is whole or not there: it is written beside and then renamed.

    uint16 ids are written as a 16-bit gray PNG, for a palette has 256 entries. Raises UserError naming the path when it
    cannot be written.
    """
    ids = to_ids(mask)
    picture = Image.fromarray(ids)
    if ids.dtype == np.uint8:
        picture = Image.fromarray(ids, mode="P")
        picture.putpalette(palette_bytes(shift=1))
    with written(path) as part:
        picture.save(part, format="PNG")
