"""A baseline: the raw colours of patches, which is what a probe reaches without any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pixel_unshuffle

from ca_seg.backbones.images import resize_in


class RGBPatches:
    """A `FeatureSource`: images resized to a short side of `resolution` pixels, cut into patches of `patch` x `patch`.

    [B, 3, H, W] in 0..1 to [B, 3 * patch^2, H' / patch, W' / patch].
    """

    name, maps = "rgb-patches", 0
    device = torch.device("cpu")

    def __init__(self, resolution: int = 128, patch: int = 8) -> None:
        self.resolution, self.patch = resolution, patch
        self.stride, self.channels = patch, 3 * patch**2

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        return pixel_unshuffle(resize_in(images, self.resolution, self.patch), self.patch)

    def identity(self) -> dict[str, Any]:
        return {"backbone": self.name, "resolution": self.resolution, "patch": self.patch}

    def to(self, device: torch.device) -> None:
        """Nothing to move: patches are cut on the device of the images."""
