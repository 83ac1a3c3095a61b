"""The decision without training: at every pixel the class with the largest map."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ca_seg.backbones.pictures import resize_out


@dataclass(frozen=True)
class Segmentation:
    """Class scores in the picture's own size, and what follows from them."""

    scores: torch.Tensor  # [B, K, H, W]

    @property
    def mask(self) -> torch.Tensor:
        """[B, H, W] class indices."""
        return self.scores.argmax(dim=1)

    @property
    def confidence(self) -> torch.Tensor:
        """[B, H, W], the winner's score: its share of the concepts' softmax, 0..1, when maps are shares."""
        return self.scores.amax(dim=1)


def decide(maps: torch.Tensor, height: int, width: int) -> Segmentation:
    """Maps [B, K, h, w] to a segmentation of height x width pixels: bilinear, then the largest."""
    return Segmentation(resize_out(maps, height, width))
