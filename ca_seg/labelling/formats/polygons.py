"""Masks as polygons with holes: each connected part is one ring, to which its holes are joined by bridges of no width.

    # # # # #        the ring goes round the outside, down the bridge B to the hole, round it, and back up B;
    # # B # #        B runs straight up from the top of the hole to the next edge, so it never leaves the part,
    # # . . #        and it meets the outside or a hole that is higher: holes form chains
    # # # # #

Corners are pixels, not the edges between them: a ring passes through the rim pixels of the part. This is how the
readers of such files draw polygons: `cv2.fillPoly` (Ultralytics) and `PIL.ImageDraw.polygon` (labelme) fill by the
even-odd rule and then draw the outline, so that bridges and parts one pixel wide are filled too.
"""

from __future__ import annotations

import cv2
import numpy as np

Point = tuple[int, int]


def polygons(mask: np.ndarray) -> list[list[Point]]:
    """One ring for each connected part of a mask; pixels that touch by sides or corners are connected.

    Args:
        mask: bool [H, W]

    Returns:
        Rings of (x, y) pixel indices, column then row. A ring has three points or more (a part of one or two pixels
        repeats them), does not repeat its first point at its end, and passes only through pixels of its part. Filled by
        the even-odd rule with its outline drawn, it gives exactly its part.
    """
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [[(int(x), int(y)) for x, y in contour.reshape(-1, 2)] for contour in contours]
    holes: dict[int, list[list[Point]]] = {}
    for ring, (_, _, _, parent) in zip(rings, tree[0] if rings else (), strict=True):
        if parent >= 0:
            holes.setdefault(int(parent), []).append(ring)
    outer = [number for number in range(len(rings)) if tree[0][number][3] < 0]
    return [_corners(_joined(rings[number], holes.get(number, []), mask)) for number in outer]


def _joined(outer: list[Point], holes: list[list[Point]], mask: np.ndarray) -> list[Point]:
    """The outside and its holes as one closed walk.

    Holes are joined from the top down, so the edge above a hole belongs to a ring that was joined before.
    """
    rings = [outer, *sorted(holes, key=_top)]
    first: dict[Point, tuple[int, int]] = {}  # pixel -> the first ring through it, and its index there
    for number, ring in enumerate(rings):
        for index, point in enumerate(ring):
            first.setdefault(point, (number, index))
    holes_at: dict[tuple[int, int], list[int]] = {}
    starts = [0] * len(rings)
    for number, ring in enumerate(rings[1:], start=1):
        x, y = top = min(ring, key=lambda point: (point[1], point[0]))
        starts[number] = ring.index(top)
        while y > 0 and mask[y - 1, x]:
            y -= 1
        holes_at.setdefault(first[x, y], []).append(number)
    walks: dict[int, list[Point]] = {}
    for number in reversed(range(len(rings))):
        walk: list[Point] = []
        start, count = starts[number], len(rings[number])
        for index in [*range(start, count), *range(start)]:
            walk.append(rings[number][index])
            for hole in holes_at.get((number, index), ()):
                walk += [*walks.pop(hole), rings[number][index]]
        walks[number] = [*walk, rings[number][start]] if number else walk
    return walks[0]


def _top(ring: list[Point]) -> Point:
    return min((y, x) for x, y in ring)


def _corners(walk: list[Point]) -> list[Point]:
    """Without the points inside a straight run; at least three points."""
    count = len(walk)
    corners = [
        point
        for index, point in enumerate(walk)
        if _step(walk[index - 1], point) != _step(point, walk[(index + 1) % count])
    ]
    corners = corners or walk[:1]
    return (corners * 3)[: max(3, len(corners))]


def _step(here: Point, there: Point) -> Point:
    """The direction from one point to the next, as the smallest whole numbers."""
    x, y = there[0] - here[0], there[1] - here[1]
    long = max(abs(x), abs(y), 1)
    return x // long if x % long == 0 else x, y // long if y % long == 0 else y
