"""Frozen backbones for SMP's DPT, which reads four depths of a transformer and no pyramid.

SMP creates DPT's encoder with timm, from any model that has `forward_intermediates`. So a backbone is registered there
too, as a transformer without a class token, whose blocks are the loaded layers:

    smp.DPT("tu-ca-mini") ──► timm.create_model("ca-mini") ──► FrozenViT ──► maps of layers i, j, k, l at one stride

`encoder_output_indices` chooses the layers (by default SMP spreads them evenly); `decoder_readout` must be "ignore",
because there is no class token to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import is_model, register_model
from torch.nn.functional import interpolate

from ca_seg.adapters.frozen import FrozenEncoderBase
from ca_seg.errors import UserError
from ca_seg.features.frozen import FrozenFeatures

__all__ = ["FrozenViT", "register_for_dpt"]  # timm adds the names of its models
_SOURCES: dict[str, Callable[[], FrozenFeatures]] = {}  # by the name of the timm model


class FrozenViT(FrozenEncoderBase):
    """The model that timm returns for SMP's DPT: the maps of chosen layers [B, width, H / stride, W / stride].

    Nothing in it learns. `stride` is the card's pixels per token. If the backbone sees an image at another size, the
    maps are resized to that stride (bilinear).
    """

    def __init__(self, features: FrozenFeatures) -> None:
        super().__init__(features)
        self.stride = features.stride
        layer = {"num_chs": features.layer_channels, "reduction": self.stride}
        self.feature_info = [layer] * features.backbone.layers
        self.pretrained_cfg: dict[str, Any] = {}

    def forward_intermediates(
        self, x: torch.Tensor, indices: Sequence[int], intermediates_only: bool = True
    ) -> list[torch.Tensor]:
        """The maps of the layers `indices`, in their order; negative ones count from the last."""
        layers = [range(len(self.feature_info))[index] for index in indices]
        size = x.shape[2] // self.stride, x.shape[3] // self.stride
        maps = [layer.to(x.dtype) for layer in self.layer_maps(x, layers)]
        return [m if m.shape[2:] == size else interpolate(m, size, mode="bilinear") for m in maps]


def register_for_dpt(name: str, source: Callable[[], FrozenFeatures]) -> str:
    """Make `name` a model of timm.

    Returns:
        what SMP calls it; timm cuts a name at its first dot, so dots become underscores

    Raises:
        UserError: timm has another model of that name
    """
    model = name.replace(".", "_")
    if model not in _SOURCES and is_model(model):
        raise UserError(f"timm already has a model {model!r}", fix="register another name")

    def build(pretrained: bool = False, in_chans: int = 3, features_only: bool = False, **_: Any) -> FrozenViT:
        if pretrained:
            raise UserError(f"encoder_weights for {name}", allowed="None: the frozen weights are the card's")
        if in_chans != 3:
            raise UserError(f"{in_chans} input channels for {name}", allowed="3 (RGB)")
        if features_only:
            raise UserError(f"'tu-{model}' is for DPT alone", fix=f"other architectures take {name!r}")
        return FrozenViT(_SOURCES[model]())

    if model not in _SOURCES:  # timm warns of a name that is registered twice
        build.__name__ = model
        register_model(build)
    _SOURCES[model] = source
    return f"tu-{model}"
