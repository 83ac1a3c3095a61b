"""Colours of classes on screen: overlays, pages, videos and the masks of predictions.

The first twelve are chosen to differ also for colour-blind readers; the others are as far apart as possible, for any
number of classes. Label files have other colours, those of PASCAL VOC (`labelling/formats/voc_colours.py`), because
label viewers know them and because label files must not change.

The conversion to CIE Lab is written out here because scikit-image comes with an extra only. Its constants differ in the
last digits, too, which would change some of the colours.
"""

from __future__ import annotations

from functools import cache

import numpy as np

CHOSEN = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233),
    (240, 228, 66), (120, 94, 240), (102, 51, 0), (220, 38, 127), (17, 119, 51), (190, 190, 200),
)  # fmt: skip
COUNT = 512  # colours before they repeat
RGB_TO_XYZ = np.array(((0.412456, 0.357576, 0.180438), (0.212673, 0.715152, 0.072175), (0.019334, 0.119192, 0.950304)))
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class, as red, green and blue, 0..255.

    Args:
        index: of the class, 0 or more; colours repeat after 512
    """
    return _colours()[index % COUNT]


def png_palette(shift: int = 0) -> bytes:
    """256 colours for a palette PNG.

    Args:
        shift: the entry of class 0; the entries before it are black
    """
    colours = [(0, 0, 0)] * shift + [colour(i) for i in range(256 - shift)]
    return bytes(value for rgb in colours for value in rgb)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of sRGB colours. A distance below about 10 is hard to see in small areas.

    Args:
        rgb: [N, 3], 0..255

    Returns:
        float64 [N, 3]
    """
    values = np.asarray(rgb, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ RGB_TO_XYZ.T / WHITE
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@cache
def _colours() -> tuple[tuple[int, int, int], ...]:
    """The chosen colours, then always the one farthest from all so far, from black (void) and white (outlines)."""
    levels = range(0, 256, 15)
    grid = np.array([(r, g, b) for r in levels for g in levels for b in levels])
    points = lab(grid)
    lightness, chroma = points[:, 0], np.hypot(points[:, 1], points[:, 2])
    readable = (lightness > 25) & (lightness < 92) & (chroma > 25)  # gray would not show over an image
    grid, points = grid[readable], points[readable]
    used = lab(np.array([*CHOSEN, (0, 0, 0), (255, 255, 255)]))
    nearest = np.min([np.linalg.norm(points - point, axis=1) for point in used], axis=0)
    colours: list[tuple[int, int, int]] = list(CHOSEN)
    while len(colours) < COUNT:
        best = int(nearest.argmax())
        red, green, blue = grid[best].tolist()
        colours.append((red, green, blue))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return tuple(colours)
