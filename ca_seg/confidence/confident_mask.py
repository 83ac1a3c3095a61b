"""The mask of an image and the confidence of its pixels, on the device, in strips of rows (`decision/strips.py`).

An image of any size takes the memory of one strip of class scores, its mask and its confidence. Where a measure depends
on the two best classes only, a strip holds the classes that can be those two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ca_seg.confidence.measures import MEASURES, check_probabilities, confidence_of, two_best
from ca_seg.confidence.temperature import check_temperature
from ca_seg.decision.argmax import predict_mask
from ca_seg.decision.candidates import possible_classes
from ca_seg.decision.rows import ScoreRows
from ca_seg.decision.strips import strips
from ca_seg.errors import UnknownName

RANKS = {None: 1, "margin": 2, "max_probability": 1}  # how many of the best classes a measure needs; entropy: all
MAX_STRIP_SCORES = 2**24
# Tuned with benchmarks/label.py: strips between rows of tokens pay from this size on.
MIN_PIXELS_PER_TOKEN = 4
MIN_SCORES_TO_CUT = 2**20  # scores of the whole image


@dataclass(frozen=True)
class ConfidentMask:
    """One image, in its original size."""

    mask: Tensor  # uint8 [H, W], class indices
    confidence: Tensor | None  # float32 [H, W], 0..1; None where no measure was given


def predict_confident_mask(
    maps: Tensor, height: int, width: int, *, measure: str | None = "margin", temperature: float = 1.0
) -> ConfidentMask:
    """The mask of one image, as `predict_mask` gives it, and its confidence.

    Args:
        maps: [1, K, h, w], 0 or more, on any grid; K up to 255
        height: of the image, in pixels
        width: of the image, in pixels
        measure: margin, entropy or max_probability; None: no confidence
        temperature: of the probabilities

    Returns:
        Mask and confidence in the image's size.

    Raises:
        UnknownName: for another measure
        OutOfRange: for a temperature outside 0.0001 to 10000
        BadMask: for maps that are negative or not finite
    """
    if measure is not None:
        if measure not in MEASURES:
            raise UnknownName("measure of confidence", measure, MEASURES)
        check_temperature(temperature)
        check_probabilities(maps)
    if temperature == 1 and measure in RANKS:
        pieces = _of_best_classes(maps, height, width, RANKS[measure])
    else:
        all_classes = torch.arange(maps.shape[1], dtype=torch.uint8, device=maps.device)
        pieces = ((*piece, all_classes) for piece in predict_mask(maps, height, width).strips(MAX_STRIP_SCORES))
    summed = ScoreRows(maps.sum(dim=1, keepdim=True), height, width)
    mask = torch.empty(height, width, dtype=torch.uint8, device=maps.device)
    confidence = None if measure is None else torch.empty(height, width, dtype=torch.float32, device=maps.device)
    for start, stop, scores, classes in pieces:
        best = two_best(scores[0])
        mask[start:stop] = classes[best.index.long()]
        if measure is not None and confidence is not None:
            confidence[start:stop] = confidence_of(
                scores[0],
                measure,
                temperature=temperature,
                best=best,
                total=summed.rows(start, stop)[0, 0],
                class_count=maps.shape[1],
            )
    return ConfidentMask(mask, confidence)


def agreement(noised_copies: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The fraction of an image's noised copies whose own mask has the class of the final mask.

    Args:
        noised_copies: class maps [1, K, h, w] of each noised copy (timestep, noise sample)
        mask: [H, W], the final mask

    Returns:
        float32 [H, W], 0..1
    """
    count = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    for maps in noised_copies:
        count += predict_confident_mask(maps, *mask.shape, measure=None).mask == mask
    return count / len(noised_copies)


def _of_best_classes(maps: Tensor, height: int, width: int, rank: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Rows start to stop, and the scores [1, k, rows, W] of classes uint8 [k] that can be among the best."""
    if maps.shape[1] * height * width < MIN_SCORES_TO_CUT or height < MIN_PIXELS_PER_TOKEN * maps.shape[2]:
        classes = possible_classes(maps, rank)
        yield 0, height, ScoreRows(maps, height, width).rows(0, height, classes), classes.to(torch.uint8)
        return
    for strip in strips(maps, height, width, rank=rank):
        yield strip.start, strip.stop, strip.scores, strip.classes.to(torch.uint8)
