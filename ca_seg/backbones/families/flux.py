"""FLUX.1 (Black Forest Labs, 2024; weights and code, no paper): double-stream, then single-stream blocks.

Double-stream blocks have weights of their own for text and image, which attend together.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, Family, TextTokens
from ca_seg.backbones.text.tokens import word_tokens
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError


def pack(latents: torch.Tensor) -> torch.Tensor:
    """[B, c, 2h, 2w] to [B, h*w, 4c]: each 2 x 2 of latents is one token, channel by channel."""
    return torch.nn.functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpack(tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The inverse of `pack`."""
    return torch.nn.functional.pixel_shuffle(grid.unflatten(tokens.transpose(1, 2)), 2)


def positions(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Row and column of every token [h*w, 3], as (0, row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).to(like)


def same_positions(text: TextTokens) -> torch.Tensor:
    """Position (0, 0, 0) for every text token [T, 3]."""
    return text.hidden.new_zeros(text.hidden.shape[1], 3)


def _of_the_image(inputs: dict[str, Any]) -> torch.Tensor:
    """The positions of the image's tokens [N, 3]; those of a reference picture have 1 in the first place."""
    ids = inputs["img_ids"]
    ids = ids[0] if ids.ndim == 3 else ids
    return ids[ids[:, 0] == 0]


class PackedLatents(Family):
    """FLUX.1's tokens and their positions; in Chroma and Ovis-Image too."""

    block_lists = ("transformer_blocks", "single_transformer_blocks")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        last = _of_the_image(inputs).amax(dim=0).int().tolist()
        return Grid(last[1] + 1, last[2] + 1)

    def reference_tokens(self, transformer: Any, inputs: dict[str, Any]) -> int:
        """FLUX.1-Kontext's reference picture."""
        return int(inputs["hidden_states"].shape[1] - len(_of_the_image(inputs)))

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        tokens = pack(latents)
        image_positions = positions(latents.shape[-2] // 2, latents.shape[-1] // 2, tokens)
        return {"hidden_states": tokens, "img_ids": image_positions, "timestep": timesteps}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {"hidden_states": torch.zeros_like(tokens[:, :1]), "img_ids": tokens.new_zeros(1, 3)}


class Flux(PackedLatents):
    """diffusers' `FluxTransformer2DModel`, in FLUX.1-schnell, FLUX.1-dev, their finetunes, and the shipped mini.

    FLUX.1-Fill also sees a picture and a mask of what to paint. A real picture is read as one of which nothing is to be
    painted: its clean latents stand beside the noised ones.

        latents [B, 32, 2h, 2w], noised and clean --> tokens [B, h*w, 64 noised + 64 clean + 256 mask]
    """

    name = "flux"
    transformer = "FluxTransformer2DModel"
    pipeline = "FluxPipeline"
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "guidance", "joint_attention_kwargs")

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        image = super().image_inputs(transformer, latents, timesteps, guidance)
        tokens, channels = image["hidden_states"], transformer.config.in_channels
        if self.needs_picture(transformer):
            if tokens.shape[-1] != 2 * transformer.config.out_channels:
                raise UserError(
                    "FLUX.1-Fill was given noised latents alone",
                    allowed="noised and clean latents, channel after channel (`with_picture`)",
                )
            nothing = tokens.new_zeros(*tokens.shape[:2], channels - tokens.shape[-1])
            image["hidden_states"] = torch.cat([tokens, nothing], dim=2)
        return image | {"guidance": self.guidance_input(transformer, timesteps, guidance)}

    def with_picture(self, transformer: Any, noised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return torch.cat([noised, clean], dim=1) if self.needs_picture(transformer) else noised

    def needs_picture(self, transformer: Any) -> bool:
        """FLUX.1-Fill takes more channels than it gives."""
        out = transformer.config.out_channels
        return out is not None and int(transformer.config.in_channels) > 2 * int(out)

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {
            "encoder_hidden_states": text.hidden,
            "pooled_projections": text.pooled,
            "txt_ids": same_positions(text),
        }

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        is_word = word_tokens(pipeline.tokenizer_2, texts, length)
        hidden, pooled, _ = pipeline.encode_prompt(prompt=list(texts), prompt_2=None, max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, is_word, pooled, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        prompt = {"prompt_embeds": text.hidden, "pooled_prompt_embeds": text.pooled}
        if negative is None:
            return prompt
        return prompt | {
            "negative_prompt_embeds": negative.hidden,
            "negative_pooled_prompt_embeds": negative.pooled,
        }
