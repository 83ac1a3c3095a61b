"""A linear probe that starts from the zero-shot maps and learns a correction.

    features ─┬─ maps p [K]        ──►  scale * log p  ─┐
              └─ all channels ──► BN, dropout, 1x1 ───── + ──►  logits        scale = 1 and the 1x1 = 0 at step 0

At step 0 the probabilities (the softmax of the logits) are therefore the maps, and the predicted mask is the zero-shot
one. Probabilities, not logits, are resized to the image, as in the zero-shot prediction.
"""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.backbones.images import resize_out
from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput

MIN_PROBABILITY = 1e-6  # smaller ones are raised to it, to have a finite logarithm


class ZeroShotLinearHead(Head):
    """A head for features with maps. Raises UserError for features without."""

    def __init__(self, spec: HeadInput, *, dropout: float = 0.1) -> None:
        super().__init__(spec)
        spec.check_maps("zero-shot-linear")
        self.scale = nn.Parameter(torch.ones(spec.classes, 1, 1))
        convolution = nn.Conv2d(spec.channels, spec.classes, kernel_size=1)
        for parameter in convolution.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            SyncedBatchNorm2d(spec.channels, affine=False),  # the convolution can learn any affine part
            nn.Dropout2d(dropout),
            convolution,
        )

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        maps = features[:, -self.spec.maps :].clamp_min(MIN_PROBABILITY)
        return self.scale * maps.log() + self.layers(features)

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        probabilities = self.tokens(features).softmax(dim=1)
        return resize_out(probabilities, *size).clamp_min(MIN_PROBABILITY).log()
