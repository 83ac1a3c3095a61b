"""CogView4: one transformer stream for text and image, text first; the image's size is a condition.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [text, image]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, SmallModel, TextTokens
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.tokens import shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError

PIXELS = 8  # of a latent


class CogView4(PatchedLatents):
    """diffusers' `CogView4Transformer2DModel`."""

    name = "cogview4"
    transformer = "CogView4Transformer2DModel"
    pipeline = "CogView4Pipeline"
    per_call = ("timestep", "original_size", "target_size", "crop_coords", "attention_kwargs")
    small = SmallModel(
        config={
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "text_embed_dim": 24,
            "time_embed_dim": 16,
            "condition_dim": 8,
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attn1  # type: ignore[return-value]

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        size = latents.new_tensor([PIXELS * side for side in latents.shape[-2:]]).repeat(len(latents), 1)
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "original_size": size,
            "target_size": size,
            "crop_coords": torch.zeros_like(size),
        }

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """One by one, for the pipeline pads on the left to a multiple of 16; padding attends, as there."""
        encoded = []
        for text in texts:
            ids = list(pipeline.tokenizer(text, add_special_tokens=True).input_ids)
            if len(ids) > length:
                raise UserError(
                    f"the text {shortened(text)!r} has {len(ids)} tokens", allowed=f"at most {length}", fix="shorten it"
                )
            hidden, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=length)
            own = torch.zeros(hidden.shape[1], dtype=torch.bool)
            special = set(pipeline.tokenizer.all_special_ids)
            words = [place for place, token in enumerate(ids) if token not in special]
            own[[hidden.shape[1] - len(ids) + place for place in words or [len(ids) - 1]]] = True
            encoded.append(EncodedText(hidden[0], own))
        return encoded

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        return {"prompt_embeds": text.hidden, "negative_prompt_embeds": torch.zeros_like(text.hidden)}
