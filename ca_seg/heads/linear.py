"""The linear probe: batch norm, dropout and one 1 x 1 convolution on frozen features (the protocol of DINOv2)."""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput


class LinearHead(Head):
    """Features [B, channels, h, w] to class logits [B, K, h, w]; `dropout` drops whole channels."""

    def __init__(self, spec: HeadInput, *, dropout: float = 0.1) -> None:
        super().__init__(spec)
        self.layers = nn.Sequential(
            SyncedBatchNorm2d(spec.channels, affine=False),  # the convolution can learn any affine part
            nn.Dropout2d(dropout),
            nn.Conv2d(spec.channels, spec.classes, kernel_size=1),
        )

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)
