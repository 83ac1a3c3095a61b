"""Colours of classes: twelve picked to differ also for colour-blind eyes, then as many as are wanted."""

from __future__ import annotations

import colorsys

PICKED = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233),
    (240, 228, 66), (120, 94, 240), (102, 51, 0), (220, 38, 127), (17, 119, 51), (190, 190, 200),
)  # fmt: skip
GOLDEN = 0.6180339887  # steps around the hue circle that never come back to the same place


def colour(index: int) -> tuple[int, int, int]:
    """The colour of class `index`, 0, 1, 2 ... (red, green, blue, 0..255)."""
    if index < len(PICKED):
        return PICKED[index]
    step = index - len(PICKED)
    red, green, blue = colorsys.hls_to_rgb(step * GOLDEN % 1, (0.45, 0.62, 0.33)[step % 3], (0.75, 0.95)[step % 2])
    return round(255 * red), round(255 * green), round(255 * blue)


def palette_bytes(shift: int = 0) -> bytes:
    """A palette of 256 colours for a PNG: entry `shift` is class 0, and the entries before it are black."""
    colours = [(0, 0, 0)] * shift + [colour(i) for i in range(256 - shift)]
    return bytes(value for rgb in colours for value in rgb)
