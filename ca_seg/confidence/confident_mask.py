"""The mask of an image and the confidence of each of its pixels, on the device, in strips of rows.

An image of any size takes the memory of one strip of class scores, its mask and its confidence. Where a measure depends
on the two best classes only, a strip lies between two rows of tokens and holds the classes that can be those two:

    tokens   o---o---o---o      of 20 classes perhaps 5 can be first or second between these rows
             |   strip   |
             o---o---o---o
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ca_seg.confidence.measures import MEASURES, check_probabilities, confidence_of, two_best
from ca_seg.confidence.temperature import check_temperature
from ca_seg.decision.argmax import predict_mask
from ca_seg.decision.candidates import argmax_candidates
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
        strips = _between_tokens(maps, height, width, RANKS[measure])
    else:
        all_classes = torch.arange(maps.shape[1], dtype=torch.uint8, device=maps.device)
        strips = ((*strip, all_classes) for strip in predict_mask(maps, height, width).strips(MAX_STRIP_SCORES))
    summed = predict_mask(maps.sum(dim=1, keepdim=True), height, width)
    mask = torch.empty(height, width, dtype=torch.uint8, device=maps.device)
    confidence = None if measure is None else torch.empty(height, width, dtype=torch.float32, device=maps.device)
    for start, stop, scores, classes in strips:
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


def _between_tokens(maps: Tensor, height: int, width: int, rank: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Strips: their rows start to stop, the scores [1, k, rows, W] of classes uint8 [k] that can be among the best."""
    prediction, token_rows = predict_mask(maps, height, width), maps.shape[2]
    possible = argmax_candidates(maps, rank)[0].any(dim=2).cpu()  # [K, h + 1]: by row of cells, with the frame
    upper = prediction.upper_token_row
    edges = [0, *((upper[1:] != upper[:-1]).nonzero()[:, 0] + 1).tolist(), height]
    small = maps.shape[1] * height * width < MIN_SCORES_TO_CUT
    if small or maps.device.type != "cpu" or height < MIN_PIXELS_PER_TOKEN * token_rows:  # a GPU needs large strips
        edges, possible = [0, height], possible.any(dim=1, keepdim=True).expand(-1, token_rows + 1)
    for top, bottom in pairwise(edges):
        classes = possible[:, int(upper[top]) + 1].nonzero()[:, 0]
        rows = max(1, MAX_STRIP_SCORES // (len(classes) * width))
        for start in range(top, bottom, rows):
            stop = min(start + rows, bottom)
            yield start, stop, prediction.rows(start, stop, classes), classes.to(maps.device, torch.uint8)
