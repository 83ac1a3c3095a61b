"""What a head learns on: anything frozen that turns images into feature maps.

images [B, 3, H, W]   ──►  source (frozen) ──►  features [B, channels, h, w] ──►  head (learns) ──►  logits
                                                    └── may be kept on disk (`cache.py`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class FeatureSource(Protocol):
    """Frozen: has nothing to learn, and the same images and seeds give the same features."""

    name: str  # of the backbone or baseline: "mini", "rgb-patches"
    channels: int
    maps: int  # how many of the last channels are zero-shot class maps
    stride: int  # pixels of the working size that a token stands for

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Images [B, 3, H, W] in 0..1, one seed each, to float32 [B, channels, h, w] without a gradient."""

    def identity(self) -> dict[str, Any]:
        """All that the features depend on beside images and seeds, as JSON can hold it: two sources whose
        identities are equal give equal features."""

    def to(self, device: torch.device) -> None:
        """Move whatever computes to a device."""
