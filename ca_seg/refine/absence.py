"""Absent classes are removed before each pixel takes its class.

With a long vocabulary most classes are absent from an image, yet each wins a few pixels somewhere. A class that is in
the image has a region where its score is high:

    best score    cat 0.81   grass 0.64   sofa 0.12   bus 0.05   ...        relative 0.5: those with 0.405 or more stay
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_nonnegative


def present_classes(scores: Tensor, *, relative: float) -> Tensor:
    """The classes that are taken to be in each image: those whose best score is high enough.

    The strongest class always stays, since a mask has a class at every pixel.

    Args:
        scores: float [B, K, h, w], 0 or more
        relative: the lowest best score of a class, as a fraction of the best score of the strongest class, 0..1

    Returns:
        bool [B, K]

    Raises:
        UserError: for another shape
        OutOfRange: for a negative score, or `relative` outside 0..1
    """
    check_nonnegative(scores)
    if not 0 <= relative <= 1:
        raise OutOfRange(f"relative {relative}", allowed="0 to 1")
    best = scores.flatten(2).amax(dim=2)  # [B, K]
    return best >= relative * best.amax(dim=1, keepdim=True)


def without_absent(scores: Tensor, present: Tensor) -> Tensor:
    """The scores with absent classes at 0; the present classes get what the absent ones had, in proportion.

    So a pixel keeps its sum. Where all present classes have 0, they share the sum evenly.

    Args:
        scores: float [B, K, h, w], 0 or more
        present: bool [B, K], one or more classes per image

    Returns:
        [B, K, h, w]

    Raises:
        UserError: for scores of another shape
        OutOfRange: for a negative score, or classes of another shape or type, or no class in an image
    """
    check_nonnegative(scores)
    if present.dtype != torch.bool or present.shape != scores.shape[:2] or not present.any(dim=1).all():
        raise OutOfRange(
            f"present classes of shape {tuple(present.shape)}, {present.dtype}",
            allowed=f"bool {list(scores.shape[:2])}, one or more classes in each image",
        )
    mask = present[:, :, None, None]
    remaining = scores * mask
    left, total = remaining.sum(dim=1, keepdim=True), scores.sum(dim=1, keepdim=True)
    even = mask / mask.sum(dim=1, keepdim=True)
    return torch.where(left > 0, remaining / left.clamp(min=torch.finfo(left.dtype).tiny), even) * total
