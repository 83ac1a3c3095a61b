"""What every refinement asks of its scores and picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from ca_seg.errors import OutOfRange, UserError


def check_scores(scores: Tensor) -> None:
    """Raises UserError for anything but float [B, K, h, w]."""
    if scores.ndim != 4 or not scores.is_floating_point():
        raise UserError(f"class scores of shape {tuple(scores.shape)}, {scores.dtype}", allowed="float [B, K, h, w]")


def check_shares(scores: Tensor) -> None:
    """Raises UserError as `check_scores`, OutOfRange for a score that is nan, infinite or below 0."""
    check_scores(scores)
    if not (scores.isfinite() & scores.ge(0)).all():
        raise OutOfRange(
            "class scores with a value that is negative or not finite",
            allowed="shares, 0 or more",
            fix="take a softmax",
        )


def check_picture(scores: Tensor, picture: Tensor) -> None:
    """Raises UserError unless the scores are float [B, K, h, w] and the picture is float [B, 3, H, W]."""
    check_scores(scores)
    if picture.ndim != 4 or not picture.is_floating_point() or picture.shape[:2] != (len(scores), 3):
        raise UserError(
            f"a picture of shape {tuple(picture.shape)}, {picture.dtype} for scores of shape {tuple(scores.shape)}",
            allowed=f"float [{len(scores)}, 3, H, W], 0..1",
        )


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """[B, K, h, w] to [B, K, height, width], bilinear; untouched where it has that size already."""
    if maps.shape[-2:] == (height, width):
        return maps
    return interpolate(maps, (height, width), mode="bilinear", align_corners=False)
