"""Small random vision transformers of timm."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

CLASSES = ("cat", "dog", "grass", "sky", "tree")


def small_vit(**options: Any) -> VisionTransformer:
    """Three blocks, four heads, 32 x 32 pixels in patches of 8, five classes; always the same weights.

    The weights are larger than timm's initial ones, so that attention is far from uniform.
    """
    settings: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 4,
        "num_classes": len(CLASSES),
    }
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = VisionTransformer(**(settings | options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    torch.random.set_rng_state(state)
    return model.eval()


def images(count: int = 2, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """Random images [B, 3, H, W] in 0..1, always the same."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(2))


def formula_vit(**options: Any) -> VisionTransformer:
    """`small_vit` with weights from a formula, the same in every version of torch."""
    model = small_vit(**options)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters(), start=1):
            index = torch.arange(parameter.numel(), dtype=torch.float64)
            values = 0.5 * torch.sin(index * (1 + 0.37 * number)).reshape(parameter.shape)
            parameter.copy_(values + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return model


def formula_image() -> torch.Tensor:
    """One image [1, 3, 32, 32] in 0..1 from a formula."""
    index = torch.arange(3 * 32 * 32, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.11 * index + torch.sin(0.013 * index))).reshape(1, 3, 32, 32).float()
