"""One token map to maps at several strides: the simple feature pyramid of ViTDet (Li et al. 2022, section 3).

A diffusion transformer has one resolution, as a plain ViT has, but convolutional decoders need several. Learned
deconvolutions of the one map work as well as the stages of a hierarchical network would:

    tokens [channels, h, w] at stride 16 ── 1 x 1, norm ──┬── deconv, norm, GELU, deconv ── 1 x 1, norm    stride 4
                                            [width]       ├── deconv ────────────────────── 1 x 1, norm    stride 8
                                                          ├────────────────────────────────  1 x 1, norm    stride 16
                                                          └── max pool ───────────────────── 1 x 1, norm    stride 32

The first 1 x 1 convolution is not in the paper: several concatenated layers have thousands of channels, and
deconvolutions of those would be larger than the decoder.

Every norm is over the channels of one location (LayerNorm, as in the paper). It is not over the batch, because training
must work with one image at a time and a pooled map may have a single location; and not over locations, because the
border that a head pads would change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from timm.layers import LayerNorm2d
from torch import nn

from ca_seg.errors import OutOfRange

STRIDES = (2, 4, 8, 16, 32)


class SimpleFeaturePyramid(nn.Module):
    """Tokens [B, channels, h, w] to a map [B, width, h', w'] for each of `strides`; h' = h * stride / s, rounded up.

    Args:
        channels: of the tokens
        stride: pixels per token
        strides: of the maps, in their order. A stride may occur twice (for decoders that keep the deepest resolution);
            each has its own weights.
        width: channels of every map

    Raises:
        OutOfRange: for a stride that is no power of two from 1 to 64, no strides, or a width below 1
    """

    def __init__(self, channels: int, stride: int, *, strides: Sequence[int] = STRIDES, width: int = 64) -> None:
        super().__init__()
        for size in (stride, *strides):
            if size not in (1, 2, 4, 8, 16, 32, 64):
                raise OutOfRange(f"stride {size} of a pyramid", allowed="1, 2, 4, 8, 16, 32, 64")
        if not strides or width < 1 or channels < 1:
            raise OutOfRange(f"a pyramid of {len(strides)} maps, {channels} to {width} channels", allowed="1 or more")
        self.strides, self.width = tuple(strides), width
        self.entry = nn.Sequential(nn.Conv2d(channels, width, kernel_size=1), LayerNorm2d(width))
        self.levels = nn.ModuleList(_level(width, round(log2(stride / size))) for size in strides)

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        entered = self.entry(tokens)
        return [level(entered) for level in self.levels]


def _level(width: int, doublings: int) -> nn.Sequential:
    """Layers that enlarge a map by 2 ** `doublings`, or shrink it if that is negative."""
    if doublings < 0:
        pooled = 2**-doublings
        resized: list[nn.Module] = [nn.MaxPool2d(pooled, ceil_mode=True)]
    else:
        deconvolution = [[nn.ConvTranspose2d(width, width, 2, stride=2)] for _ in range(doublings)]
        resized = [part for step in deconvolution for part in (*step, LayerNorm2d(width), nn.GELU())][:-2]
    return nn.Sequential(*resized, nn.Conv2d(width, width, kernel_size=1), LayerNorm2d(width))
