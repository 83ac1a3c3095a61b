"""A linear probe that begins as the zero-shot map and learns what to add to it.

    features ─┬─ maps p [K]        ──►  scale * log p  ─┐
              └─ all channels ──► BN, dropout, 1x1 ───── + ──►  logits        scale = 1 and the 1x1 = 0 at step 0

So at step 0 the shares (the softmax of the logits) are the maps themselves, and so is every decision: shares and not
logits are brought to the image's size, as in the zero-shot decision.
"""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.backbones.images import resize_out
from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput

LEAST = 1e-6  # a share below it counts as this much: log 0 is nobody's logit


class ZeroShotLinearHead(Head):
    """Needs features with maps. Raises UserError without."""

    def __init__(self, given: HeadInput, *, dropout: float = 0.1) -> None:
        super().__init__(given)
        given.check_maps("zero-shot-linear")
        self.scale = nn.Parameter(torch.ones(given.classes, 1, 1))
        self.layers = nn.Sequential(
            SyncedBatchNorm2d(given.channels, affine=False),  # what an affine part learns, the convolution can
            nn.Dropout2d(dropout),
            nn.Conv2d(given.channels, given.classes, kernel_size=1),
        )
        nn.init.zeros_(self.layers[2].weight)
        nn.init.zeros_(self.layers[2].bias)

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        maps = features[:, -self.given.maps :].clamp_min(LEAST)
        return self.scale * maps.log() + self.layers(features)

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        shares = self.tokens(features).softmax(dim=1)
        return resize_out(shares, *size).clamp_min(LEAST).log()
