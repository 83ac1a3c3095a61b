"""What a family of diffusion transformers has to say about itself. Everything else is the same for all families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ca_seg.concept.grid import Grid


@dataclass(frozen=True)
class TextTokens:
    """Prompt or concept embeddings as the transformer takes them."""

    hidden: torch.Tensor  # [B, T, text_dim]
    pooled: torch.Tensor  # [B, pooled_dim]


class Family(Protocol):
    """One joint-attention architecture of diffusers.

    latents [B, c, h, w] ──inputs──► transformer(**inputs) ──► blocks 0, 1, 2 ...
    concepts [B, C, d] ──ask_inputs──┘
    """

    name: str
    text_first: bool  # the joint sequence is [text, image]; False: [image, text]

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        """The blocks with a joint attention, in the order in which they run: layer 0, 1, 2 ..."""
        ...

    def grid(self, latents: torch.Tensor) -> Grid:
        """How the image tokens of `latents` lie."""
        ...

    def grid_of(self, inputs: dict[str, Any]) -> Grid:
        """The grid of a call that a stock pipeline made, from the transformer's arguments."""
        ...

    def inputs(
        self, transformer: nn.Module, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The transformer's arguments for noised latents at timesteps [B] in 0..1."""
        ...

    def ask_inputs(
        self, transformer: nn.Module, concepts: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The transformer's arguments with concepts for text and one dummy image token."""
        ...
