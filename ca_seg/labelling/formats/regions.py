"""The regions of a mask: one for each class, or one for each connected part of a class."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.label import Label

Per = Literal["class", "part"]
TOUCHING = np.ones((3, 3), int)  # by sides or corners


@dataclass(frozen=True)
class Region:
    """Pixels of one class."""

    number: int  # the value of its pixels in the map of regions
    class_index: int
    area: int  # pixels
    left: int
    top: int
    width: int
    height: int
    confidence: float | None  # the mean of its pixels, where the label has a confidence


def regions(label: Label, parts_of: Collection[int], exclude: Collection[int]) -> tuple[np.ndarray, list[Region]]:
    """The regions of a label.

    Args:
        label: its mask, and its confidence where it has one
        parts_of: classes that give a region for each part whose pixels touch by sides or corners; others give one
        exclude: classes that give none

    Returns:
        A map int32 [H, W] of region numbers 1..R, with 0 for ignored and excluded pixels, and the R regions. They are
        numbered by class, then by the first pixel of a part in reading order.
    """
    numbers = np.zeros(label.mask.shape, np.int32)
    classes: list[int] = []
    for index in label.present:
        if index in exclude:
            continue
        pixels = label.mask == index
        if index in parts_of:
            parts, count = ndimage.label(pixels, structure=TOUCHING)
        else:
            parts, count = pixels, 1
        numbers[pixels] = parts[pixels] + len(classes)
        classes += [index] * count
    areas = np.bincount(numbers.ravel(), minlength=len(classes) + 1)
    confidence = None
    if label.confidence is not None:
        weights = label.confidence.astype(np.float64).ravel()
        sums = np.bincount(numbers.ravel(), weights=weights, minlength=len(classes) + 1)
        confidence = sums / np.maximum(areas, 1)
    result = []
    for number, (index, (rows, columns)) in enumerate(
        zip(classes, ndimage.find_objects(numbers), strict=True), start=1
    ):
        result.append(
            Region(
                number,
                index,
                int(areas[number]),
                left=columns.start,
                top=rows.start,
                width=columns.stop - columns.start,
                height=rows.stop - rows.start,
                confidence=None if confidence is None else round(float(confidence[number]), 6),
            )
        )
    return numbers, result


def runs(numbers: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """The run lengths of every region, for masks as COCO and CVAT store them.

    Args:
        numbers: a flattened map of region numbers, int [N]; 0 is no region

    Yields:
        (number, counts) in ascending order of the numbers. Counts alternate, outside first, and add up to N:
        0 7 7 0 gives (7, [1, 2, 1]), 7 7 gives (7, [0, 2]).
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    ends = np.append(starts[1:], len(numbers))
    owners = numbers[starts]
    order = np.argsort(owners, kind="stable")
    borders = np.flatnonzero(np.diff(owners[order], prepend=-1))
    for of_region in np.split(order, borders[1:]):
        number = int(owners[of_region[0]])
        if number == 0:
            continue
        edges = np.stack([starts[of_region], ends[of_region]], axis=1).ravel()
        counts = np.diff(edges, prepend=0).tolist()
        rest = len(numbers) - int(edges[-1])
        yield number, [*counts, rest] if rest else counts


def class_numbers(names: Sequence[str], classes: Sequence[str], what: str) -> frozenset[int]:
    """The indices of `names` among `classes`. Raises UnknownName."""
    for name in names:
        if name not in classes:
            raise UnknownName(f"class in {what}", name, classes)
    return frozenset(classes.index(name) for name in names)


def check_per(per: str) -> None:
    """Raises UserError unless "class" or "part"."""
    if per not in ("class", "part"):
        raise UserError(f"one region per {per!r}", allowed="'class' or 'part'")
