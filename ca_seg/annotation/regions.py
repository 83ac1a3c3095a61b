"""The regions of a segmentation, as annotation tools store them: masks, outlines and boxes, each with a confidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ca_seg.errors import OutOfRange
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.labelling.formats.polygons import Point, polygons
from ca_seg.labelling.formats.regions import Per, check_per, regions
from ca_seg.labelling.label import Label


@dataclass(frozen=True, eq=False)
class MaskRegion:
    """Pixels of one class: all of them, or one part whose pixels touch."""

    name: str  # the class
    mask: np.ndarray  # bool [H, W]
    confidence: float  # the mean of its pixels, 0..1
    box: tuple[int, int, int, int]  # left, top, width, height in pixels


def mask_regions(segmentation: Segmentation, per: Per = "class", *, min_area: float = 0.0) -> list[MaskRegion]:
    """The regions of all classes that have a pixel, without the background class.

    Args:
        segmentation: of one image
        per: "class" gives one region for a class, "part" one for each part whose pixels touch by sides or corners
        min_area: regions smaller than this fraction of the image are left out, 0..1

    Returns:
        The regions in the order of the classes, then of their first pixel in reading order.

    Raises:
        OutOfRange: for another `min_area`
        UserError: for another `per`
    """
    check_per(per)
    if not 0 <= min_area <= 1:
        raise OutOfRange(f"a smallest area of {min_area}", allowed="0 to 1, a fraction of the image")
    classes, background = segmentation.classes, segmentation.background
    height, width = segmentation.mask.shape
    label = Label("image", "image.png", height, width, segmentation.mask, None, segmentation.confidence)
    parts_of = range(len(classes)) if per == "part" else ()
    numbers, parts = regions(label, parts_of, () if background is None else (background,))
    return [
        MaskRegion(
            classes[region.class_index],
            numbers == region.number,
            region.confidence or 0.0,
            (region.left, region.top, region.width, region.height),
        )
        for region in parts
        if region.area >= min_area * height * width
    ]


def outlines(mask: np.ndarray, tolerance: float) -> Iterator[list[Point]]:
    """Outlines that people can edit: one ring for each connected part, with fewer corners than the mask has.

    Args:
        mask: bool [H, W]
        tolerance: how far a ring may leave the rim of its part, in pixels, 0 or more; 0 keeps every corner (by the
            algorithm of Ramer, Douglas and Peucker)

    Yields:
        Rings of (x, y) pixel indices through the rim pixels of the part; holes are joined to the outside by bridges.
    """
    for ring in polygons(mask):
        if tolerance <= 0:
            yield ring
            continue
        simple = cv2.approxPolyDP(np.array(ring, np.int32)[:, None], tolerance, True).reshape(-1, 2)
        yield [(int(x), int(y)) for x, y in simple] if len(simple) >= 3 else ring
