"""Colours of classes in label files: those of PASCAL VOC, which label viewers know.

What is shown on screen has other colours (`visual/palette.py`), which are easier to tell apart.
"""

from __future__ import annotations

import numpy as np


def voc_colours(class_count: int) -> np.ndarray:
    """The colours of classes 0, 1, 2 ...: class k has colour k + 1 of the VOC devkit. All differ and none is black.

    The devkit's colour map (its VOCcolormap.m) deals the bits of the number to red, green and blue in turn, to the
    highest bit first. Its colour 0 is black, which is void here.

    Returns:
        uint8 [class_count, 3]
    """
    numbers = np.arange(1, class_count + 1)[:, None]
    colours = np.zeros((class_count, 3), int)
    for bit in range(8):
        colours |= (numbers >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def voc_palette(class_count: int) -> bytes:
    """256 colours for a palette PNG: the classes, then black."""
    return voc_colours(class_count).tobytes().ljust(768, b"\0")
