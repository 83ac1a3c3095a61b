"""Frozen backbones for SMP's DPT, which takes no pyramid: it resizes four depths of a transformer itself.

SMP makes DPT's encoder by timm alone, from any model that has `forward_intermediates`. So a backbone is registered
there too, as a transformer without a class token, whose blocks are the loaded layers:

    smp.DPT("tu-ca-mini") ──► timm.create_model("ca-mini") ──► FrozenViT ──► maps of layers i, j, k, l at one stride

`encoder_output_indices` chooses the layers (SMP's default spreads them evenly); `decoder_readout` must be "ignore",
for there is no class token to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import is_model, register_model
from torch.nn.functional import interpolate

from ca_seg.adapters.frozen import FollowsDevice, FrozenTokens
from ca_seg.errors import UserError

__all__ = ["FrozenViT", "register_for_dpt"]  # timm adds the names of its models
_SOURCES: dict[str, Callable[[], FrozenTokens]] = {}  # of each model that timm was told of


class FrozenViT(FollowsDevice):
    """What timm gives SMP's DPT: the maps of chosen layers [B, width, H / stride, W / stride], nothing to learn.

    `stride` is the card's pixels per token. Maps of an image that the backbone sees at another size are brought to
    that stride, bilinear.
    """

    def __init__(self, frozen: FrozenTokens) -> None:
        super().__init__(frozen)
        self.stride = frozen.backbone.card.multiple
        one = {"num_chs": frozen.width, "reduction": self.stride}
        self.feature_info = [one] * frozen.backbone.layers
        self.pretrained_cfg: dict[str, Any] = {}

    def forward_intermediates(
        self, x: torch.Tensor, indices: Sequence[int], intermediates_only: bool = True
    ) -> list[torch.Tensor]:
        """The maps of the layers `indices`, in their order; negative ones count from the last."""
        layers = [range(len(self.feature_info))[index] for index in indices]
        size = x.shape[2] // self.stride, x.shape[3] // self.stride
        maps = [own.to(x.dtype) for own in self.frozen(x, layers)]
        return [m if m.shape[2:] == size else interpolate(m, size, mode="bilinear") for m in maps]


def register_for_dpt(name: str, source: Callable[[], FrozenTokens]) -> str:
    """Make `name` a model of timm; what SMP calls it. timm cuts a name at its first dot, so dots become underscores."""
    own = name.replace(".", "_")
    if own not in _SOURCES and is_model(own):
        raise UserError(f"timm has a model {own!r} of its own", fix="register another name")

    def make(pretrained: bool = False, in_chans: int = 3, features_only: bool = False, **told: Any) -> FrozenViT:
        if pretrained:
            raise UserError(f"encoder_weights for {name}", allowed="None: the frozen weights are the card's")
        if in_chans != 3:
            raise UserError(f"{in_chans} input channels for {name}", allowed="3 (RGB)")
        if features_only:
            raise UserError(f"'tu-{own}' is for DPT alone", fix=f"other architectures take {name!r}")
        return FrozenViT(_SOURCES[own]())

    if own not in _SOURCES:  # timm warns of a name that it is told twice
        make.__name__ = own
        register_model(make)
    _SOURCES[own] = source
    return f"tu-{own}"
