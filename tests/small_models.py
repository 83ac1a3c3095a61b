"""Small random models of every family's exact class, for tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.backbones.families.registry import diffusers_class
from tests.backbones.small_configs import SMALL, SmallModel

PROMPT = 7


def small_model(family: Family) -> SmallModel:
    """The family's small model; the test fails, with what is to do, for a family without one."""
    if family.name not in SMALL:
        pytest.fail(f"the family {family.name} has no small model: add one to tests/backbones/small_configs.py")
    return SMALL[family.name]


def small_transformer(family: Family, seed: int = 0) -> nn.Module:
    """Weights large enough that every path matters."""
    torch.manual_seed(seed)
    model = diffusers_class(family, family.transformer)(**small_model(family).config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def random_text(family: Family, batch: int, tokens: int, seed: int, *, pooled: float = 1.0) -> TextTokens:
    generator = torch.Generator().manual_seed(seed)
    small = small_model(family)
    width = None if small.pooled is None else torch.randn(batch, small.pooled, generator=generator) * pooled
    return TextTokens(torch.randn(batch, tokens, small.text, generator=generator), width)


def random_latents(family: Family, batch: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(batch, *small_model(family).latents, generator=torch.Generator().manual_seed(seed))
