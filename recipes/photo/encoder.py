"""The published EfficientNet-Lite0: its layers as the encoder of `photo`, and its classifier at every position."""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.backbones.efficientnet_lite import EfficientNetLite0
from ca_seg.features.efficientnet import EfficientNetLite0 as Published


def folded(convolution: nn.Module, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution with the batch normalisation after it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def encoder() -> EfficientNetLite0:
    """The stem and stages of the published model. Raises WeightsUnavailable."""
    return fold_into(EfficientNetLite0(), Published().network).requires_grad_(False).eval()


def fold_into(target: EfficientNetLite0, source: nn.Module) -> EfficientNetLite0:
    """`target` with the weights of timm's model, batch normalisation folded in."""
    pairs = [(source.conv_stem, source.bn1)]
    for block in (block for stage in source.blocks for block in stage):
        if hasattr(block, "conv_pwl"):
            pairs += [(block.conv_pw, block.bn1), (block.conv_dw, block.bn2), (block.conv_pwl, block.bn3)]
        else:
            pairs += [(block.conv_dw, block.bn1), (block.conv_pw, block.bn2)]
    convolutions = [module for module in target.modules() if isinstance(module, nn.Conv2d)]
    for convolution, pair in zip(convolutions, pairs, strict=True):
        weight, bias = folded(*pair)
        convolution.weight.data.copy_(weight)
        convolution.bias.data.copy_(bias)
    return target


def class_probabilities(network: nn.Module, coarse: torch.Tensor) -> torch.Tensor:
    """The classifier of timm's model at every position of its last feature map.

    Args:
        network: timm's model
        coarse: features at stride 32 [B, 320, h, w]

    Returns:
        [B, h, w, 1000]: probabilities of ImageNet's classes, in their order
    """
    hidden = network.bn2(network.conv_head(coarse)).permute(0, 2, 3, 1)
    logits = network.classifier(hidden.flatten(0, 2).contiguous())  # strided rows would take many times as long
    return logits.softmax(dim=-1).unflatten(0, hidden.shape[:3])
