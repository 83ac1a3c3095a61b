"""Small random models of every family's exact class, for tests."""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.backbones.families.registry import diffusers_class

PROMPT = 7


def small_transformer(family: Family, seed: int = 0) -> nn.Module:
    """Weights large enough that every path matters."""
    torch.manual_seed(seed)
    model = diffusers_class(family, family.transformer)(**family.small.config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def random_text(family: Family, batch: int, tokens: int, seed: int, *, pooled: float = 1.0) -> TextTokens:
    generator = torch.Generator().manual_seed(seed)
    small = family.small
    width = None if small.pooled is None else torch.randn(batch, small.pooled, generator=generator) * pooled
    return TextTokens(torch.randn(batch, tokens, small.text, generator=generator), width)


def random_latents(family: Family, batch: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(batch, *family.small.latents, generator=torch.Generator().manual_seed(seed))
