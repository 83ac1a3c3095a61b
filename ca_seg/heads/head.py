"""The base class of heads: features [B, channels, h, w] to class logits, at the tokens and at the image's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ca_seg.backbones.images import resize_out
from ca_seg.errors import UserError


@dataclass(frozen=True)
class HeadInput:
    """The input that a head is built for.

    Args:
        channels: of the features
        classes: K
        maps: how many of the last channels are zero-shot class maps: K, or 0 where the features have none
        stride: pixels per token, each way, at the size at which the source sees an image
    """

    channels: int
    classes: int
    maps: int = 0
    stride: int = 16

    def check_maps(self, head: str) -> None:
        """For heads that start from the zero-shot maps. Raises UserError if the features have none."""
        if self.maps != self.classes:
            raise UserError(
                f"the head {head!r} for {self.classes} classes gets {self.maps} zero-shot maps",
                allowed="one for each class",
                fix="add maps to the parts of the features: model.parts [concepts, maps]",
            )


class Head(nn.Module):
    """A subclass implements `tokens`, the class logits at its own resolution; `forward` resizes them (bilinear).

    The constructor takes a HeadInput, and options by keyword, all with defaults.
    """

    def __init__(self, spec: HeadInput) -> None:
        super().__init__()
        self.spec = spec

    def for_training(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and mask [B, H, W] for a training step; a head may drop what does not change the loss."""
        return features, mask

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, channels, h, w] to logits [B, K, h', w'] at the head's resolution (a convolution's: h' = h)."""
        raise NotImplementedError

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Features [B, channels, h, w] to logits [B, K, H, W] of an image of H x W pixels."""
        return resize_out(self.tokens(features), *size)
