"""CogView4 (Zhipu AI, 2025; after CogView3, Zheng et al., 2024, arXiv:2403.05121): one stream, text first.

The size of the image is an input of the transformer.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [text, image]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.tokens import check_length, word_indices

PIXELS = 8  # per latent


class CogView4(PatchedLatents):
    """diffusers' `CogView4Transformer2DModel`."""

    name = "cogview4"
    transformer = "CogView4Transformer2DModel"
    pipeline = "CogView4Pipeline"
    per_call = ("timestep", "original_size", "target_size", "crop_coords", "attention_kwargs")

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attn1  # type: ignore[return-value]

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        size = latents.new_tensor([PIXELS * side for side in latents.shape[-2:]]).repeat(len(latents), 1)
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "original_size": size,
            "target_size": size,
            "crop_coords": torch.zeros_like(size),
        }

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """One by one, because the pipeline pads on the left to a multiple of 16. Padding attends, as there."""
        encoded = []
        for text in texts:
            ids = list(pipeline.tokenizer(text, add_special_tokens=True).input_ids)
            check_length(text, len(ids), length)
            hidden, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=length)
            is_word = torch.zeros(hidden.shape[1], dtype=torch.bool)
            words = word_indices(pipeline.tokenizer, ids) or [len(ids) - 1]
            is_word[[hidden.shape[1] - len(ids) + index for index in words]] = True
            encoded.append(EncodedText(hidden[0], is_word))
        return encoded
