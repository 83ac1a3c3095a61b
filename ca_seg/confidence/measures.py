"""Measures of confidence: how certain the predicted class of a pixel is, 0..1.

With the K class probabilities p of a pixel (scores divided by their sum), all are 1 where one class has everything and
0 where all classes have the same:

    margin            the largest probability minus the second largest
    entropy           1 - H / log K, with H = - sum p log p
    max_probability   (K * largest probability - 1) / (K - 1)

With a single class the confidence is 1. At a pixel where all scores are 0 it is 0.

A fourth measure, "agreement", compares several predictions of an image; see `confident_mask.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from ca_seg.confidence.temperature import relative_powers, smallest
from ca_seg.errors import BadMask

AGREEMENT = "agreement"
# Tuned with benchmarks/label.py: in smaller planes, one step per class costs more than three passes over all classes.
MIN_PLANE_PIXELS = 2**12


@dataclass(frozen=True)
class TwoBest:
    """The largest and the second largest of the scores of each pixel, all of the shape of one map."""

    first: Tensor
    index: Tensor  # uint8, the class of `first`; of equal scores the first class
    second: Tensor  # -1 where there is only one class


# scores [k, ...], their two best, their sum over all K classes, and K, to 0..1
Measure = Callable[[Tensor, TwoBest, Tensor, int], Tensor]


def _margin(scores: Tensor, best: TwoBest, total: Tensor, class_count: int) -> Tensor:
    return (best.first - best.second) / total


def _entropy(scores: Tensor, best: TwoBest, total: Tensor, class_count: int) -> Tensor:
    return 1 - torch.special.entr(scores / total).sum(dim=0) / log(class_count)


def _max_probability(scores: Tensor, best: TwoBest, total: Tensor, class_count: int) -> Tensor:
    return (class_count * best.first / total - 1) / (class_count - 1)


MEASURES: dict[str, Measure] = {"margin": _margin, "entropy": _entropy, "max_probability": _max_probability}


def confidence_of(
    scores: Tensor,
    measure: str,
    *,
    temperature: float = 1.0,
    best: TwoBest | None = None,
    total: Tensor | None = None,
    class_count: int | None = None,
) -> Tensor:
    """The confidence of each pixel.

    Args:
        scores: [K, ...], 0 or more, proportional to probabilities
        measure: a name of MEASURES
        temperature: T, above 0
        best: `two_best(scores)`, if already computed
        total: the sum of all K scores [...]; needed where `scores` holds only the classes that `measure` depends on
        class_count: K, likewise

    Returns:
        [...] in the dtype of the scores, 0..1
    """
    class_count = len(scores) if class_count is None else class_count
    total = scores.sum(dim=0) if total is None else total
    if class_count == 1:
        return (total > 0).to(scores.dtype)
    best = two_best(scores) if best is None else best
    if temperature != 1:
        scores = relative_powers(scores, best.first, temperature)
        best, total = two_best(scores), scores.sum(dim=0) * (total > 0)
    confidence = MEASURES[measure](scores, best, total.clamp_min(smallest(total)), class_count)
    return torch.where(total > 0, confidence.clamp(0, 1), 0.0)


def two_best(scores: Tensor) -> TwoBest:
    """The two largest of scores [K, ...]. Both ways are several times faster than `topk`."""
    planes = scores.stride(-1) == 1 or scores.shape[-1] == 1  # else the scores of a pixel lie side by side
    if scores.device.type != "cpu" or not planes or scores[0].numel() < MIN_PLANE_PIXELS:
        first, index = scores.max(dim=0)
        second = scores.scatter(0, index[None], -1.0).amax(dim=0)
        return TwoBest(first, index.to(torch.uint8), second)
    first, second = scores[0].clone(), torch.full_like(scores[0], -1)
    index = torch.zeros(first.shape, dtype=torch.uint8, device=first.device)
    for number in range(1, len(scores)):
        plane = scores[number]
        index.masked_fill_(plane > first, number)
        second = torch.maximum(second, torch.minimum(first, plane))
        first = torch.maximum(first, plane)
    return TwoBest(first, index, second)


def check_probabilities(maps: Tensor) -> None:
    """Raises BadMask for maps with a value below 0, infinite or NaN: they have no confidence."""
    low, high = maps.aminmax()
    if not (low >= 0 and high < torch.inf):
        raise BadMask(
            f"class maps from {float(low):.6g} to {float(high):.6g} have no confidence",
            allowed="finite and 0 or more",
            fix="take a softmax of the maps: model.softmax must be true",
        )
