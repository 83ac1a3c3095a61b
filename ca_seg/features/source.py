"""What a head learns on: anything frozen that turns images into feature maps.

images [B, 3, H, W]   ──►  source (frozen) ──►  features [B, channels, h, w] ──►  head (learns) ──►  logits
                                                    └── may be stored on disk (`cache.py`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class FeatureSource(Protocol):
    """A frozen source of features: nothing in it learns, and the same images and seeds give the same features."""

    @property
    def name(self) -> str:
        """Of the backbone or baseline: "mini", "rgb-patches"."""

    @property
    def channels(self) -> int:
        """Channels of the features."""

    @property
    def maps(self) -> int:
        """How many of the last channels are zero-shot class maps."""

    @property
    def stride(self) -> int:
        """Width of a token in pixels, at the size at which the source sees an image."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Features of a batch.

        Args:
            images: float [B, 3, H, W] in 0..1
            seeds: one per image; they fix the noise

        Returns:
            float32 [B, channels, h, w], without a gradient
        """

    def identity(self) -> dict[str, Any]:
        """Everything that the features depend on besides images and seeds, as JSON can hold it.

        Two sources with equal identities give equal features.
        """

    def to(self, device: torch.device) -> None:
        """Move whatever computes to a device."""
