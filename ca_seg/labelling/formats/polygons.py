"""Masks as polygons, holes kept: every part becomes one ring, and a hole hangs on it by a bridge of no width.

    # # # # #        the ring goes round the outside, down the bridge B to the hole, round it, and back up B;
    # # B # #        B runs straight up from the top of the hole to the next edge, so it never leaves the part,
    # # . . #        and it meets the outside or a hole that lies higher: holes hang on each other like a chain
    # # # # #

Corners are pixels, not the edges between them: a ring passes through the pixels of the part that lie at its rim. That
is what the readers of such files draw: `cv2.fillPoly` (Ultralytics) and `PIL.ImageDraw.polygon` (labelme) fill by the
even-odd rule and then draw the outline, so a bridge and a part one pixel wide stay.
"""

from __future__ import annotations

import cv2
import numpy as np

Point = tuple[int, int]


def polygons(mask: np.ndarray) -> list[list[Point]]:
    """One ring for each part of a mask, bool [H, W]: (x, y) pixel indices, column then row.

    A part is a set of pixels joined by sides or corners. A ring has three points or more (a part of one or two pixels
    repeats them), is not closed by its first point, and goes through part pixels alone. Filled by the even-odd rule
    with its outline drawn, each ring gives its part again, pixel for pixel.
    """
    found, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [[(int(x), int(y)) for x, y in contour.reshape(-1, 2)] for contour in found]
    holes: dict[int, list[list[Point]]] = {}
    for ring, (_, _, _, parent) in zip(rings, tree[0] if rings else (), strict=True):
        if parent >= 0:
            holes.setdefault(int(parent), []).append(ring)
    outer = [number for number in range(len(rings)) if tree[0][number][3] < 0]
    return [_corners(_joined(rings[number], holes.get(number, []), mask)) for number in outer]


def _joined(outer: list[Point], holes: list[list[Point]], mask: np.ndarray) -> list[Point]:
    """The outside and its holes as one closed walk.

    Holes are taken from the highest down, so the edge above a hole belongs to a ring that was taken before it.
    """
    rings = [outer, *sorted(holes, key=_top)]
    first: dict[Point, tuple[int, int]] = {}  # pixel -> the first ring through it, and where
    for number, ring in enumerate(rings):
        for place, point in enumerate(ring):
            first.setdefault(point, (number, place))
    hung: dict[tuple[int, int], list[int]] = {}
    starts = [0] * len(rings)
    for number, ring in enumerate(rings[1:], start=1):
        x, y = top = min(ring, key=lambda point: (point[1], point[0]))
        starts[number] = ring.index(top)
        while y > 0 and mask[y - 1, x]:
            y -= 1
        hung.setdefault(first[x, y], []).append(number)
    walks: dict[int, list[Point]] = {}
    for number in reversed(range(len(rings))):
        walk: list[Point] = []
        start, count = starts[number], len(rings[number])
        for place in [*range(start, count), *range(start)]:
            walk.append(rings[number][place])
            for child in hung.get((number, place), ()):
                walk += [*walks.pop(child), rings[number][place]]
        walks[number] = [*walk, rings[number][start]] if number else walk
    return walks[0]


def _top(ring: list[Point]) -> Point:
    return min((y, x) for x, y in ring)


def _corners(walk: list[Point]) -> list[Point]:
    """Without the points inside a straight run; at least three points."""
    count = len(walk)
    kept = [
        point
        for place, point in enumerate(walk)
        if _step(walk[place - 1], point) != _step(point, walk[(place + 1) % count])
    ]
    kept = kept or walk[:1]
    return (kept * 3)[: max(3, len(kept))]


def _step(here: Point, there: Point) -> Point:
    """The direction from one point to the next, as the smallest whole numbers."""
    x, y = there[0] - here[0], there[1] - here[1]
    long = max(abs(x), abs(y), 1)
    return x // long if x % long == 0 else x, y // long if y % long == 0 else y
