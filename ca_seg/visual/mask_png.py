"""Masks as files that every tool reads: 8-bit palette PNG."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.errors import UserError
from ca_seg.visual.palette import palette_bytes


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
    part = path.with_name(path.name + ".part")
    try:
        picture.save(part, format="PNG")
        os.replace(part, path)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {problem.strerror or problem}", fix="free room, or give another --out"
        ) from problem
