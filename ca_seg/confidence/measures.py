"""The zero-shot decision with how sure it is at each pixel, on the device and in strips of rows.

The same measures as `ca_seg/confidence/numpy_measures.py` (which says what they mean), and two things more:

    temperature T   shares p become p^(1/T), divided by their sum: below 1 surer, above 1 less sure
    agreement       the share of draws (timestep, noise sample) whose own decision is the final one

An image of any size takes a strip of class scores at a time, and its mask and confidence. Where the two best classes
are enough, a strip lies between two rows of tokens and holds only the classes that can be among them there:

    tokens   o---o---o---o      of 20 classes perhaps 5 can win or come second somewhere between these rows
             |   strip   |
             o---o---o---o
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from ca_seg.decision.argmax import predict_mask
from ca_seg.decision.candidates import argmax_candidates
from ca_seg.errors import BadMask, OutOfRange, UnknownName

AGREEMENT = "agreement"
ROOM = 2**24  # scores of a strip
COARSE = 4  # pixels from token to token from which on strips between rows of tokens are worth it
SMALL_PLANE = 2**12  # pixels below which a step for each class costs more than passing over all classes three times
WORTH_CUTTING = 2**20  # scores of an image, likewise


@dataclass(frozen=True)
class ConfidentMask:
    """One image, in its own size."""

    mask: Tensor  # uint8 [H, W], class indices
    confidence: Tensor | None  # float32 [H, W], 0..1; None for a measure that was not asked for


def predict_confident_mask(
    maps: Tensor, height: int, width: int, *, measure: str | None = "margin", temperature: float = 1.0
) -> ConfidentMask:
    """Class maps [1, K, h, w] of an image, shares, to its mask and a `measure` of its confidence (None: no measure).

    The mask is that of `decide`. Raises UnknownName for a measure, OutOfRange for a temperature, and BadMask for maps
    that are negative or not finite, which no measure reads.
    """
    if measure is not None:
        if measure not in MEASURES:
            raise UnknownName("measure of confidence", measure, MEASURES)
        check_temperature(temperature)
        check_readable(maps)
    if maps.shape[1] == 1:
        measure, temperature = measure and "max_probability", 1.0  # any score at all is sure, see `_max_share`
    if temperature == 1 and measure in PLACES:
        strips = _between_tokens(maps, height, width, PLACES[measure])
    else:
        every = torch.arange(maps.shape[1], dtype=torch.uint8, device=maps.device)
        strips = ((*strip, every) for strip in predict_mask(maps, height, width).strips(ROOM))
    summed = predict_mask(maps.sum(dim=1, keepdim=True), height, width)
    mask = torch.empty(height, width, dtype=torch.uint8, device=maps.device)
    sure = None if measure is None else torch.empty(height, width, dtype=torch.float32, device=maps.device)
    for start, stop, scores, classes in strips:
        best = _two_best(scores[0])
        mask[start:stop] = classes[best.place.long()]
        if measure is None or sure is None:
            continue
        total = summed.rows(start, stop)[0, 0]
        if temperature != 1:
            shares = (scores[0] / best.first.clamp_min(_tiny(scores))) ** (1 / temperature)
            best, total = _two_best(shares), shares.sum(dim=0) * (total > 0)
            scores = shares[None]
        found = MEASURES[measure](scores[0], best, total.clamp_min(_tiny(total)), maps.shape[1])
        sure[start:stop] = torch.where(total > 0, found.clamp(0, 1), 0.0)
    return ConfidentMask(mask, sure)


def agreement(noised_copies: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The share of draws, class maps [1, K, h, w] each, that are decided as `mask` [H, W] is: float32 [H, W]."""
    same = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    for maps in noised_copies:
        same += predict_confident_mask(maps, *mask.shape, measure=None).mask == mask
    return same / len(noised_copies)


def tempered(scores: Tensor, temperature: float) -> Tensor:
    """Scores [B, K, H, W], 0 or more, to shares at a temperature; a pixel without any score stays so."""
    shares = (scores / scores.amax(dim=1, keepdim=True).clamp_min(_tiny(scores))) ** (1 / temperature)
    return shares / shares.sum(dim=1, keepdim=True).clamp_min(_tiny(scores))


def check_temperature(temperature: float) -> None:
    """Raises OutOfRange."""
    if not 1e-4 <= temperature <= 1e4:  # nan is neither
        raise OutOfRange(f"a temperature of {temperature}", allowed="0.0001 to 10000")


def check_readable(maps: Tensor) -> None:
    """Raises BadMask for maps that are not shares."""
    low, high = maps.aminmax()
    if not (low >= 0 and high < torch.inf):
        raise BadMask(
            f"class maps from {float(low):.6g} to {float(high):.6g} have no confidence",
            allowed="finite and 0 or more",
            fix="take shares: --model.softmax true",
        )


@dataclass(frozen=True)
class Best:
    """The largest of some scores, which it is, and the second (below 0 where there is but one), [rows, W] each."""

    first: Tensor
    place: Tensor  # uint8
    second: Tensor


def _two_best(scores: Tensor) -> Best:
    """Of scores [K, rows, W]; of equal ones the first. Both ways are several times faster than `topk`."""
    if scores.device.type != "cpu" or scores[0].numel() < SMALL_PLANE:
        first, number = scores.max(dim=0)
        second = scores.scatter(0, number[None], -1.0).amax(dim=0)
        return Best(first, number.to(torch.uint8), second)
    first, second = scores[0].clone(), torch.full_like(scores[0], -1)
    place = torch.zeros(first.shape, dtype=torch.uint8, device=first.device)
    for number in range(1, len(scores)):
        own = scores[number]
        place.masked_fill_(own > first, number)
        second = torch.maximum(second, torch.minimum(first, own))
        first = torch.maximum(first, own)
    return Best(first, place, second)


def _between_tokens(maps: Tensor, height: int, width: int, places: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Strips: their rows start to stop, the scores [1, k, rows, W] of classes uint8 [k] that can be among the best."""
    whole, tokens = predict_mask(maps, height, width), maps.shape[2]
    possible = argmax_candidates(maps, rank=places)[0].any(dim=2).cpu()  # [K, tokens + 1]: rows of cells and the frame
    above = whole.upper_token_row
    edges = [0, *((above[1:] != above[:-1]).nonzero()[:, 0] + 1).tolist(), height]
    few = maps.shape[1] * height * width < WORTH_CUTTING or maps.device.type != "cpu"  # a GPU likes large strips
    if few or height < COARSE * tokens:
        edges, possible = [0, height], possible.any(dim=1, keepdim=True).expand(-1, tokens + 1)
    for top, bottom in pairwise(edges):
        classes = possible[:, int(above[top]) + 1].nonzero()[:, 0]
        step = max(1, ROOM // (len(classes) * width))
        for start in range(top, bottom, step):
            stop = min(start + step, bottom)
            yield start, stop, whole.rows(start, stop, classes), classes.to(maps.device, torch.uint8)


# of scores [K, rows, W], their best, their sum [rows, W] and K in all: 0..1, [rows, W]
Measure = Callable[[Tensor, Best, Tensor, int], Tensor]


def _margin(scores: Tensor, best: Best, total: Tensor, count: int) -> Tensor:
    return (best.first - best.second) / total


def _entropy(scores: Tensor, best: Best, total: Tensor, count: int) -> Tensor:
    return 1 - torch.special.entr(scores / total).sum(dim=0) / log(count)


def _max_probability(scores: Tensor, best: Best, total: Tensor, count: int) -> Tensor:
    return (count * best.first / total - 1) / (count - 1) if count > 1 else torch.ones_like(total)


MEASURES: dict[str, Measure] = {"margin": _margin, "entropy": _entropy, "max_probability": _max_probability}
PLACES = {None: 1, "margin": 2, "max_probability": 1}  # of the classes that must be known at a pixel; entropy: all


def _tiny(scores: Tensor) -> float:
    return torch.finfo(scores.dtype).tiny
