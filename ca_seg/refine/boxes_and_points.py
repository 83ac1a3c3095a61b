"""Boxes and points from class maps, for segmenters that are asked by them (SAM and its successors).

Each class has the pixels where its map is the highest. Their connected parts (8 neighbours) are prompts of their own:

    . . . . . . . .       box        the smallest rectangle around the part
    . a a a . . . .       positive   the pixel farthest from the border of the part; each further point the pixel
    . a P a N b . .                  farthest from that border and from the points before it
    . a a a . . . .       negative   inside the box, the pixel farthest from the class, in the same way; none where
    . . . . . . . .                  the class fills its box

Parts that are small are left out: a few tokens of a coarse map are as likely noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange, UserError
from ca_seg.optional import optional_imports
from ca_seg.refine.shapes import check_scores

SMALLEST = 0.002  # of the pixels of the image
PARTS = 10  # of one class, the largest first
POSITIVE, NEGATIVE = 1, 1


@dataclass(frozen=True)
class BoxAndPoints:
    """Where one connected part of a class is, in pixels of the image. x grows to the right, y downwards.

    Args:
        class_index: of the class, 0..K-1
        box: x, y, width, height, as in COCO; (0, 0, width, height) is the whole image
        points: (x, y) of the middles of pixels: 0.5 is the middle of the first
        labels: for each point 1 (on the part) or 0 (not of the class)
        area: of the part, in pixels
        score: the mean of the class's map over the part
    """

    class_index: int
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    area: int
    score: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """The box as x0, y0, x1, y1, as SAM takes it."""
        x, y, width, height = self.box
        return x, y, x + width, y + height


def boxes_and_points(
    maps: Tensor | np.ndarray,
    height: int | None = None,
    width: int | None = None,
    *,
    positive: int = POSITIVE,
    negative: int = NEGATIVE,
    smallest: float = SMALLEST,
    parts: int = PARTS,
) -> list[BoxAndPoints]:
    """Boxes and points of the classes of one image, class by class and the largest part first.

    Args:
        maps: class maps, float [K, h, w] or [1, K, h, w], on any grid
        height: of the image in pixels; maps are resized to it (bilinear). None: that of the maps
        width: likewise
        positive: points on each part, 0 or more; a part of few pixels has fewer
        negative: points beside the class, inside the box, 0 or more
        smallest: the smallest area of a part, as a fraction of the image, 0..1
        parts: the most parts of one class, 1 or more

    Returns:
        Nothing for a class that is nowhere the highest.

    Raises:
        UserError: for maps of another shape, or that are not finite
        OutOfRange: for another number

    Example:
        >>> result = ca_seg.segment("photo.jpg", ["cat", "grass"])
        >>> boxes_and_points(result.probabilities)[0].box
    """
    scores = torch.as_tensor(maps)
    scores = scores[None] if scores.ndim == 3 else scores
    check_scores(scores)
    if len(scores) != 1 or not bool(scores.isfinite().all()):
        raise UserError(f"class maps of shape {tuple(scores.shape)}", allowed="finite numbers of one image, [K, h, w]")
    height, width = scores.shape[-2] if height is None else height, scores.shape[-1] if width is None else width
    if height < 1 or width < 1:
        raise OutOfRange(f"an image of {width} x {height} pixels", allowed="1 or more each")
    check_prompt_options(positive=positive, negative=negative, smallest=smallest, parts=parts)
    full = resize_maps(scores.float(), height, width)[0]
    asked = prompted_parts(full, positive=positive, negative=negative, smallest=smallest, parts=parts)
    return [prompt for prompt, _ in asked]


def prompted_parts(
    maps: Tensor, *, positive: int, negative: int, smallest: float, parts: int
) -> list[tuple[BoxAndPoints, Part]]:
    """As `boxes_and_points`, each beside the pixels of its part. maps: float [K, H, W] in the image's size."""
    best = maps.argmax(dim=0).cpu().numpy()
    asked: list[tuple[BoxAndPoints, Part]] = []
    for index, scores in enumerate(maps):
        mask = best == index
        for part in connected_parts(mask, smallest=smallest)[:parts]:
            asked.append((_prompt(index, part, mask, scores.cpu().numpy(), positive, negative), part))
    return asked


def check_prompt_options(*, positive: int, negative: int, smallest: float, parts: int) -> None:
    """Raises OutOfRange for options of `boxes_and_points` that cannot be used."""
    for name, number, lowest in (("positive", positive, 0), ("negative", negative, 0), ("parts", parts, 1)):
        if number < lowest:
            raise OutOfRange(f"{name} is {number}", allowed=f"{lowest} or more")
    if not 0 <= smallest <= 1:
        raise OutOfRange(f"smallest is {smallest}", allowed="0 to 1, a fraction of the image")


@dataclass(frozen=True)
class Part:
    """A connected part of a mask: a crop of the image, and the pixels in it."""

    rows: slice
    columns: slice
    pixels: np.ndarray  # bool, of the crop

    @property
    def area(self) -> int:
        """In pixels."""
        return int(self.pixels.sum())


def connected_parts(mask: np.ndarray, *, smallest: float = 0.0) -> list[Part]:
    """The connected parts (8 neighbours) of a mask, the largest first.

    Args:
        mask: bool [H, W]
        smallest: parts below this fraction of the image are left out

    Raises MissingExtra without scipy.
    """
    ndimage = _ndimage()
    numbers, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    crops = [(number, crop) for number, crop in enumerate(ndimage.find_objects(numbers), start=1) if crop is not None]
    parts = [Part(rows, columns, numbers[rows, columns] == number) for number, (rows, columns) in crops]
    parts = [part for part in parts if part.area >= smallest * mask.size]
    return sorted(parts, key=lambda part: -part.area)


def _prompt(index: int, part: Part, mask: np.ndarray, scores: np.ndarray, positive: int, negative: int) -> BoxAndPoints:
    rows, columns = part.rows, part.columns
    inside = _farthest(part.pixels, positive, framed=True)
    outside = _farthest(~mask[rows, columns], negative, framed=False)
    points = [(columns.start + x + 0.5, rows.start + y + 0.5) for y, x in (*inside, *outside)]
    box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    return BoxAndPoints(
        class_index=index,
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        points=tuple(points),
        labels=(1,) * len(inside) + (0,) * len(outside),
        area=part.area,
        score=float(scores[rows, columns][part.pixels].mean()),
    )


def _farthest(pixels: np.ndarray, count: int, *, framed: bool) -> list[tuple[int, int]]:
    """Up to `count` pixels (y, x), each as far as possible from what is not `pixels` and from those before it.

    Of several that are equally far, the one nearest to their middle. `framed`: what lies outside the crop counts as
    not of `pixels`.
    """
    left, offset = (np.pad(pixels, 1), 1) if framed else (pixels.copy(), 0)
    points: list[tuple[int, int]] = []
    while len(points) < count and left.any():
        distance = _ndimage().distance_transform_edt(left)
        farthest = np.argwhere(distance == distance.max())
        y, x = farthest[((farthest - farthest.mean(axis=0)) ** 2).sum(axis=1).argmin()].tolist()
        points.append((y - offset, x - offset))
        left[y, x] = False
    return points


def _ndimage() -> Any:
    with optional_imports("connected parts"):
        from scipy import ndimage  # only here: it comes with an extra

    return ndimage
