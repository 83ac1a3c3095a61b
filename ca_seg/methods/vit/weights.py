"""The network of a method: the user's, or the published weights by timm."""

from __future__ import annotations

from torch import nn

from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.network import VisionNetwork
from ca_seg.methods.weights import reading

SUPERVISED = Weights("timm/vit_base_patch16_224.orig_in21k_ft_in1k", "Apache-2.0")


def open_network(card: MethodCard, inputs: MethodInputs, *, resolution: int | None = None) -> VisionNetwork:
    """The given model, or the card's first weights.

    Args:
        card: of the method
        inputs: model, device and resolution
        resolution: of the real weights where none is given, pixels of the short side; None: the weights' own fixed size
    """
    if inputs.model is not None:
        return VisionNetwork(inputs.model, card.name, device=inputs.device, resolution=inputs.resolution)
    resolution = inputs.resolution or resolution
    model = _pretrained(card, dynamic=resolution is not None)
    return VisionNetwork(model, card.name, device=inputs.device, resolution=resolution)


def _pretrained(card: MethodCard, *, dynamic: bool) -> nn.Module:
    import timm  # here, so that cards are listed without it

    weights = card.weights[0]
    name = f"hf-hub:{weights.repository}@{weights.revision}"
    with reading(weights, card):
        model: nn.Module = timm.create_model(name, pretrained=True, dynamic_img_size=dynamic)
    return model.eval()
