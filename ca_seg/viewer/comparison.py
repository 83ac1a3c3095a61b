"""Two answers for one photograph and the same words: where they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ca_seg.errors import UserError
from ca_seg.jobs.segmentation import Segmentation


@dataclass(frozen=True)
class Agreement:
    """How much two masks of one photograph have in common.

    Args:
        pixels: the fraction of pixels with the same class, 0..1
        classes: for each class of both the intersection over union, 0..1; None where neither has a pixel
    """

    pixels: float
    classes: dict[str, float | None]


def agreement(first: Segmentation, second: Segmentation) -> Agreement:
    """Compare two masks by the names of their classes. Raises UserError for masks of different sizes."""
    if first.mask.shape != second.mask.shape:
        raise UserError(f"masks of {first.mask.shape} and {second.mask.shape} pixels", allowed="the same photograph")
    names = tuple(dict.fromkeys((*first.classes, *second.classes)))
    a, b = (np.array([names.index(name) for name in one.classes])[one.mask] for one in (first, second))
    classes: dict[str, float | None] = {}
    for index, name in enumerate(names):
        either = int(((a == index) | (b == index)).sum())
        classes[name] = int(((a == index) & (b == index)).sum()) / either if either else None
    return Agreement(float((a == b).mean()), classes)
