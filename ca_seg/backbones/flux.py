"""FLUX.1: double-stream blocks (text and image apart, attending together), then single-stream blocks.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.family import TextTokens
from ca_seg.concept.grid import Grid


class Flux:
    """diffusers' `FluxTransformer2DModel`, in FLUX.1-schnell, FLUX.1-dev, their finetunes, and the shipped mini."""

    name = "flux"
    text_first = True

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]

    def grid(self, latents: torch.Tensor) -> Grid:
        return Grid(latents.shape[-2] // 2, latents.shape[-1] // 2)

    def grid_of(self, inputs: dict[str, Any]) -> Grid:
        """The grid of a call that a pipeline made, from its own arguments."""
        last = inputs["img_ids"].reshape(-1, 3).amax(dim=0).int().tolist()
        return Grid(last[1] + 1, last[2] + 1)

    def pack(self, latents: torch.Tensor) -> torch.Tensor:
        """[B, c, 2h, 2w] to [B, h*w, 4c]: each 2 x 2 of latents is one token, channel by channel."""
        return torch.nn.functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)

    def unpack(self, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
        """The inverse of `pack`."""
        return torch.nn.functional.pixel_shuffle(grid.unflatten(tokens.transpose(1, 2)), 2)

    def inputs(
        self, transformer: nn.Module, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        grid = self.grid(latents)
        rows, columns = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
        return self._arguments(transformer, self.pack(latents), places, text, timesteps, guidance)

    def ask_inputs(
        self, transformer: nn.Module, concepts: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        dummy = concepts.hidden.new_zeros(concepts.hidden.shape[0], 1, transformer.config.in_channels)
        return self._arguments(transformer, dummy, torch.zeros(1, 3), concepts, timesteps, guidance)

    def _arguments(
        self,
        transformer: nn.Module,
        tokens: torch.Tensor,
        places: torch.Tensor,
        text: TextTokens,
        timesteps: torch.Tensor,
        guidance: float,
    ) -> dict[str, Any]:
        guided = transformer.config.guidance_embeds
        return {
            "hidden_states": tokens,
            "encoder_hidden_states": text.hidden,
            "pooled_projections": text.pooled,
            "timestep": timesteps,
            "guidance": torch.full_like(timesteps, guidance) if guided else None,
            "img_ids": places.to(tokens),
            "txt_ids": tokens.new_zeros(text.hidden.shape[1], 3),
        }
