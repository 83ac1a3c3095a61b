"""The zero-shot decision with how sure it is at each pixel, on the device and in strips of rows.

The same measures as `ca_seg/labels/confidence.py` (which says what they mean), and two things more:

    temperature T   shares p become p^(1/T), divided by their sum: below 1 surer, above 1 less sure
    agreement       the share of draws (timestep, noise sample) whose own decision is the final one

A picture of any size takes a strip of class scores at a time, and its mask and confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ca_seg.errors import BadMask, OutOfRange, UnknownName
from ca_seg.heads.zero_shot import WORTH_PRUNING, candidates, decide

AGREEMENT = "agreement"
ROOM = 2**24  # scores of a strip


@dataclass(frozen=True)
class Decided:
    """One picture, in its own size."""

    mask: Tensor  # uint8 [H, W], class indices
    confidence: Tensor | None  # float32 [H, W], 0..1; None for a measure that was not asked for


def decide_with_confidence(
    maps: Tensor, height: int, width: int, *, measure: str | None = "margin", temperature: float = 1.0
) -> Decided:
    """Class maps [1, K, h, w] of a picture, shares, to its mask and a `measure` of its confidence (None: no measure).

    The mask is that of `decide`. Raises UnknownName for a measure, OutOfRange for a temperature, and BadMask for maps
    that are negative or not finite, which no measure reads.
    """
    if measure is not None:
        if measure not in MEASURES:
            raise UnknownName("measure of confidence", measure, MEASURES)
        check_temperature(temperature)
        check_readable(maps)
    read = None if measure is None else MEASURES[measure]
    classes = torch.arange(maps.shape[1], device=maps.device)
    own = maps
    if measure in ("margin", None) and temperature == 1 and maps.shape[1] * height * width >= WORTH_PRUNING:
        classes = candidates(maps, places=1 if measure is None else 2)
        own = maps[:, classes]
    total = decide(maps.sum(dim=1, keepdim=True), height, width) if len(classes) < maps.shape[1] else None
    mask = torch.empty(height, width, dtype=torch.uint8, device=maps.device)
    sure = None if read is None else torch.empty(height, width, dtype=torch.float32, device=maps.device)
    strips = decide(own, height, width).strips(ROOM)
    for start, stop, scores in strips:
        first = scores.max(dim=1)
        mask[start:stop] = classes[first.indices[0]]
        if read is None or sure is None:
            continue
        shares = scores if temperature == 1 else (scores / first.values.clamp_min(_tiny(scores))) ** (1 / temperature)
        whole = shares.sum(dim=1) if total is None else total.rows(start, stop)[:, 0]
        if maps.shape[1] == 1:
            sure[start:stop] = (whole > 0).float()[0]
            continue
        found = read(shares, shares.amax(dim=1), whole.clamp_min(_tiny(whole)))
        sure[start:stop] = torch.where(whole > 0, found.clamp(0, 1), 0.0)[0]
    return Decided(mask, sure)


def agreement(draws: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The share of draws, class maps [1, K, h, w] each, that are decided as `mask` [H, W] is: float32 [H, W]."""
    same = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    for maps in draws:
        same += decide_with_confidence(maps, *mask.shape, measure=None).mask == mask
    return same / len(draws)


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


# of scores [1, K, rows, W], their largest and their sum [1, rows, W]: 0..1, [1, rows, W]
Measure = Callable[[Tensor, Tensor, Tensor], Tensor]


def _margin(scores: Tensor, most: Tensor, total: Tensor) -> Tensor:
    pair = scores.topk(2, dim=1).values
    return (pair[:, 0] - pair[:, 1]) / total


def _entropy(scores: Tensor, most: Tensor, total: Tensor) -> Tensor:
    count = torch.tensor(float(scores.shape[1]), device=scores.device)
    return 1 - torch.special.entr(scores / total[:, None]).sum(dim=1) / count.log()


def _max_share(scores: Tensor, most: Tensor, total: Tensor) -> Tensor:
    count = scores.shape[1]
    return (count * most / total - 1) / (count - 1)


MEASURES: dict[str, Measure] = {"margin": _margin, "entropy": _entropy, "max_share": _max_share}


def _tiny(scores: Tensor) -> float:
    return torch.finfo(scores.dtype).tiny
