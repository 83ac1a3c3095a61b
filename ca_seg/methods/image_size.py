"""Images that are too small for a method."""

from __future__ import annotations

import torch

from ca_seg.errors import UserError

SMALLEST = 8  # pixels; fewer than the patch of any autoencoder or transformer here


def check_image_size(images: torch.Tensor, method: str, smallest: int = SMALLEST) -> None:
    """Raises UserError for images [B, 3, H, W] with a side of fewer than `smallest` pixels, the side of a patch."""
    height, width = images.shape[-2:]
    if min(height, width) < smallest:
        raise UserError(
            f"an image of {height} x {width} pixels is smaller than a patch of {method}",
            allowed=f"sides of {smallest} pixels or more",
        )
