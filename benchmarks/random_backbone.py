"""Backbones with random weights: the real architectures of the cards, or the tiny ones of the tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import diffusers
import torch
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.cost.cost import MapCost, cost_of, map_cost, text_widths
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.plan import read_part
from ca_seg.backbones.loading.profiles import find_profile, offloaded, quantised

PRECISIONS = {"bf16": "bf16", "compile": "bf16", "offload": "bf16", "fp8": "ao-fp8", "nf4": "bnb-nf4"}
TILE = 2**20  # random numbers that are repeated where billions are needed in main memory


class RandomText:
    """A text encoder whose embeddings are random: the time and memory of maps do not depend on their values."""

    def __init__(self, transformer: Any, tokens: int) -> None:
        (self.width, self.pooled), self.length = text_widths(transformer), tokens

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        return self._tokens(len(prompts), self.length)

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        return self._tokens(1, len(phrases))

    def phrase_tokens(self, prompt: str, phrases: Sequence[str]) -> dict[str, tuple[int, ...]]:
        raise NotImplementedError("random text has no phrases")

    def _tokens(self, rows: int, tokens: int) -> TextTokens:
        numbers = torch.Generator().manual_seed(0)
        hidden = torch.randn(rows, tokens, self.width, generator=numbers)
        return TextTokens(hidden, None if self.pooled is None else torch.zeros(rows, self.pooled))


def real_backbone(name: str, variant: str, device: str, *, all_blocks: bool) -> Backbone:
    """The architecture of a card, built without memory and filled with random numbers on the device; nothing is read.

    Args:
        name: of the card
        variant: a key of PRECISIONS
        device: of the weights and of the autoencoder
        all_blocks: those after the last layer that maps read too, for a stock forward pass
    """
    card, profile = find_card(name), find_profile(PRECISIONS[variant])
    family = find_family(card.family)
    part = read_part(card.parts["vae"])
    with torch.device("meta"):
        autoencoder = getattr(diffusers, part["class"]).from_config(part["config"])
    transformer = build(family, card.architecture, None if all_blocks else max(card.layers) + 1)
    if profile.quantised:
        transformer = quantised(transformer, _states(transformer, profile.dtype), profile, device)
    elif variant == "offload":
        transformer.load_state_dict(
            {k: v for state in _states(transformer, profile.dtype) for k, v in state.items()}, assign=True
        )
        transformer = offloaded(transformer, device)
    else:
        transformer = filled(transformer, device, profile.dtype)
    scheduler = diffusers.CogVideoXDDIMScheduler() if family.noise_at == "scheduler" else None
    text: Any = RandomText(transformer, card.text_tokens)
    backbone = Backbone(card, family, transformer, filled(autoencoder, device, profile.dtype), text, scheduler)
    if variant == "compile":
        backbone.transformer.compile_repeated_blocks()
    return backbone


def tiny_backbone(name: str, variant: str, device: str) -> Backbone:
    """The tiny model of the card's family, of the tests, whole: every row runs, and its figures mean nothing."""
    from tests.tiny_families import TINY

    family = find_family(find_card(name).family)
    torch.manual_seed(0)
    pipeline, tiny_card, _ = TINY[family.name].make()
    transformer, profile = pipeline.transformer, find_profile(PRECISIONS[variant])
    layers = len(family.blocks(transformer))
    card = replace(find_card(tiny_card), layers=(layers - 1,), text_tokens=7).with_resolution(TINY[family.name].pixels)
    dtype = torch.float32
    if profile.quantised:
        state = {key: value.to(profile.dtype) for key, value in transformer.state_dict().items()}
        transformer = quantised(build(family, dict(transformer.config)), [state], profile, device)
        dtype = profile.dtype
    elif variant == "offload":
        transformer = offloaded(transformer, device)
    else:
        transformer = transformer.to(device)
    text: Any = RandomText(transformer, card.text_tokens)
    autoencoder = pipeline.vae.to(device, dtype)
    backbone = Backbone(card, family, transformer, autoencoder, text, pipeline.scheduler)
    if variant == "compile":
        family.blocks(transformer)[0].compile(backend="eager")  # a real compiler, and all blocks, take minutes on a CPU
    return backbone


def real_cost(name: str, variant: str) -> MapCost:
    """The arithmetic of a card's maps."""
    return map_cost(name, precision=PRECISIONS[variant])


def tiny_cost(name: str, variant: str) -> MapCost:
    """The arithmetic of a tiny model's maps."""
    plain = tiny_backbone(name, "bf16", "cpu")
    meta, autoencoder = (copy.deepcopy(part).to("meta") for part in (plain.transformer, plain.autoencoder))
    return cost_of(plain.card, plain.family, meta, autoencoder, find_profile(PRECISIONS[variant]))


def filled(model: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """A model on the meta device with random weights on `device`; its tables, which are real, are moved there."""
    for module in model.modules():
        for name, empty in list(module.named_parameters(recurse=False)):
            value = _value(name, empty.shape, lambda shape: torch.randn(shape, device=device, dtype=dtype) * 0.02)
            setattr(module, name, nn.Parameter(value.to(device, dtype), requires_grad=False))
        for name, table in list(module.named_buffers(recurse=False)):
            if table.is_meta:
                setattr(module, name, torch.zeros(table.shape, device=device, dtype=dtype))
    return model.to(device).eval()


def _states(model: nn.Module, dtype: torch.dtype) -> Iterator[dict[str, torch.Tensor]]:
    """Random tensors for a model's state dict, one at a time, in main memory."""
    tile = torch.randn(TILE, generator=torch.Generator().manual_seed(0)).to(dtype) * 0.02

    def repeated(shape: torch.Size) -> torch.Tensor:
        return tile.repeat(-(-shape.numel() // TILE))[: shape.numel()].view(shape)

    for name, empty in model.state_dict().items():
        yield {name: _value(name, empty.shape, repeated).to(dtype) if empty.is_meta else empty}


def _value(name: str, shape: torch.Size, random: Any) -> torch.Tensor:
    """Matrices are random; biases are zeros, and the other vectors (of norms) ones."""
    if len(shape) > 1:
        return random(shape)
    return torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
