"""Colours of classes in label files: those of PASCAL VOC, which label viewers know."""

from __future__ import annotations

import numpy as np


def palette(class_count: int) -> np.ndarray:
    """Colours of classes, uint8 [class_count, 3]: all different and none black.

    Class k has colour k + 1 of the VOC devkit (VOCcolormap.m), which distributes the bits of the number to red, green
    and blue in turn, from the highest bit on. Its colour 0, black, is that of the void.
    """
    numbers = np.arange(1, class_count + 1)[:, None]
    colours = np.zeros((class_count, 3), int)
    for bit in range(8):
        colours |= (numbers >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def palette_bytes(class_count: int) -> bytes:
    """256 colours for a PNG: the classes, then black."""
    return palette(class_count).tobytes().ljust(768, b"\0")
