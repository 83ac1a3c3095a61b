"""Which classes are in the image at all? The others are taken out before pixels choose.

With a long vocabulary most classes are absent, and each wins a few pixels somewhere. A class that is there has a place
where it is strong:

    best score    cat 0.81   grass 0.64   sofa 0.12   bus 0.05   ...        threshold 0.3: cat, grass stay
                                                                            relative 0.5:  0.405 or more stays
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_shares


def present_classes(
    scores: Tensor,
    *,
    threshold: float = 0.0,
    relative: float = 0.0,
    top: int | None = None,
    quantile: float = 1.0,
    always: Sequence[int] = (),
) -> Tensor:
    """Which of K classes are in each image: scores [B, K, h, w], shares, to bool [B, K].

    The strength of a class is the `quantile` of its scores over the image: 1 is its best pixel, 0.99 asks for a
    hundredth of the image (and does not fall for one pixel). A class stays when its strength is at least
    `threshold`, at least `relative` times that of the strongest class, and among the `top` strongest. Of equal
    strengths the lower index comes first.

    The strongest class always stays, since a mask names a class at every pixel, and so do those in `always` (the
    background). Raises UserError for other shapes, OutOfRange for a negative score or an argument out of its range.
    """
    check_shares(scores)
    classes = scores.shape[1]
    for name, value in (("threshold", threshold), ("relative", relative), ("quantile", quantile)):
        if not 0 <= value <= 1:
            raise OutOfRange(f"{name} {value}", allowed="0 to 1")
    if top is not None and top < 1:
        raise OutOfRange(f"the top {top} classes", allowed="1 or more")
    if not set(always) <= set(range(classes)):
        raise OutOfRange(f"classes {list(always)} always stay", allowed=f"0 to {classes - 1}")
    strength = _strength(scores, quantile)  # [B, K]
    place = strength.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    stays = (strength >= threshold) & (strength >= relative * strength.amax(dim=1, keepdim=True))
    stays &= place < (classes if top is None else top)
    stays |= place == 0
    stays[:, list(always)] = True
    return stays


def _strength(scores: Tensor, quantile: float) -> Tensor:
    """The smallest score that a share `quantile` of the pixels does not exceed."""
    flat = scores.flatten(2)
    if quantile == 1:
        return flat.amax(dim=2)
    rank = max(1, ceil(quantile * flat.shape[2] - 1e-6))
    return flat.kthvalue(rank, dim=2).values


def without_absent(scores: Tensor, present: Tensor, *, renormalise: bool = True) -> Tensor:
    """Scores [B, K, h, w], shares, with absent classes at 0; `present` is bool [B, K], one or more per image.

    With `renormalise` the others share out what the absent ones had, in proportion, so that a pixel sums to what it
    summed to before; a pixel where they all had 0 is shared out evenly among them. Without it they stay as they are.
    """
    check_shares(scores)
    if present.dtype != torch.bool or present.shape != scores.shape[:2] or not present.any(dim=1).all():
        raise OutOfRange(
            f"present classes of shape {tuple(present.shape)}, {present.dtype}",
            allowed=f"bool {list(scores.shape[:2])}, one or more classes in each image",
        )
    stays = present[:, :, None, None]
    kept = scores * stays
    if not renormalise:
        return kept
    left, whole = kept.sum(dim=1, keepdim=True), scores.sum(dim=1, keepdim=True)
    even = stays / stays.sum(dim=1, keepdim=True)
    return torch.where(left > 0, kept / left.clamp(min=torch.finfo(left.dtype).tiny), even) * whole
