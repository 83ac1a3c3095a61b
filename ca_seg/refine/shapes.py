"""Checks of the scores and images that refinement functions take."""

from __future__ import annotations

from torch import Tensor

from ca_seg.errors import OutOfRange, UserError


def check_scores(scores: Tensor) -> None:
    """Raises UserError for anything but float [B, K, h, w]."""
    if scores.ndim != 4 or not scores.is_floating_point():
        raise UserError(f"class scores of shape {tuple(scores.shape)}, {scores.dtype}", allowed="float [B, K, h, w]")


def check_nonnegative(scores: Tensor) -> None:
    """Raises UserError as `check_scores`, OutOfRange for a score that is NaN, infinite or below 0."""
    check_scores(scores)
    if not (scores.isfinite() & scores.ge(0)).all():
        raise OutOfRange(
            "class scores with a value that is negative or not finite",
            allowed="probabilities, 0 or more",
            fix="take a softmax",
        )


def check_image(scores: Tensor, image: Tensor) -> None:
    """Raises UserError unless the scores are float [B, K, h, w] and the image is float [B, 3, H, W]."""
    check_scores(scores)
    if image.ndim != 4 or not image.is_floating_point() or image.shape[:2] != (len(scores), 3):
        raise UserError(
            f"an image of shape {tuple(image.shape)}, {image.dtype} for scores of shape {tuple(scores.shape)}",
            allowed=f"float [{len(scores)}, 3, H, W], 0..1",
        )
