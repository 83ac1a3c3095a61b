"""Colours of classes: twelve picked to differ also for colour-blind eyes, then as many as are wanted."""

from __future__ import annotations

from functools import cache

import numpy as np

PICKED = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233),
    (240, 228, 66), (120, 94, 240), (102, 51, 0), (220, 38, 127), (17, 119, 51), (190, 190, 200),
)  # fmt: skip
COUNT = 512  # colours before they come again
TO_XYZ = np.array(((0.412456, 0.357576, 0.180438), (0.212673, 0.715152, 0.072175), (0.019334, 0.119192, 0.950304)))
WHITE = np.array([0.95047, 1.0, 1.08883])


def colour(index: int) -> tuple[int, int, int]:
    """The colour of class `index`, 0, 1, 2 ... (red, green, blue, 0..255)."""
    return _colours()[index % COUNT]


def palette_bytes(shift: int = 0) -> bytes:
    """A palette of 256 colours for a PNG: entry `shift` is class 0, and the entries before it are black."""
    colours = [(0, 0, 0)] * shift + [colour(i) for i in range(256 - shift)]
    return bytes(value for rgb in colours for value in rgb)


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0..255 [N, 3] as CIE 1976 L*a*b* (D65), in which a distance below about 10 is hard to see in small areas."""
    share = np.asarray(rgb, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / WHITE
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@cache
def _colours() -> tuple[tuple[int, int, int], ...]:
    """After the picked ones always the colour farthest from all so far, from black (void) and from white (outlines)."""
    levels = range(0, 256, 15)
    grid = np.array([(r, g, b) for r in levels for g in levels for b in levels])
    places = lab(grid)
    lightness, chroma = places[:, 0], np.hypot(places[:, 1], places[:, 2])
    readable = (lightness > 25) & (lightness < 92) & (chroma > 25)  # a gray would not show that it lies over an image
    grid, places = grid[readable], places[readable]
    taken = lab(np.array([*PICKED, (0, 0, 0), (255, 255, 255)]))
    nearest = np.min([np.linalg.norm(places - place, axis=1) for place in taken], axis=0)
    colours = list(PICKED)
    while len(colours) < COUNT:
        best = int(nearest.argmax())
        colours.append(tuple(grid[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=1))
    return tuple(colours)
