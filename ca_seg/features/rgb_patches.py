"""Raw colours of patches: what a probe reaches without any model. The least that a backbone must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pixel_unshuffle

from ca_seg.backbones.images import resize_in


class RGBPatches:
    """A `FeatureSource`: images with a short side of `resolution` pixels, cut to patches of `patch` x `patch`.

    [B, 3, H, W] in 0..1 to [B, 3 * patch^2, H' / patch, W' / patch].
    """

    name, maps = "rgb-patches", 0

    def __init__(self, resolution: int = 128, patch: int = 8) -> None:
        self.resolution, self.patch = resolution, patch
        self.stride, self.channels = patch, 3 * patch**2

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        return pixel_unshuffle(resize_in(images, self.resolution, self.patch), self.patch)

    def identity(self) -> dict[str, Any]:
        return {"backbone": self.name, "resolution": self.resolution, "patch": self.patch}

    def to(self, device: torch.device) -> None:
        """Nothing to move."""
