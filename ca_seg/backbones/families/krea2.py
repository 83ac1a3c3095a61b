"""Krea 2 (Krea, 2026; weights and code, no paper): one transformer stream for text and image, text first.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]
text    hidden states of 12 layers of Qwen3-VL --fused inside the transformer--> tokens      joint: [text, image]

Text has no positions. Its tokens pass two blocks of self-attention (the last part of the fusion) together: the map of a
concept depends on which other concepts are asked with it, but not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import EncodedText, Family, TextTokens
from ca_seg.backbones.families.flux import pack, positions
from ca_seg.backbones.families.qwen_image import standardised_latents
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.concept.grid import Grid

TEXT_LAYERS = 12  # of the text encoder, side by side in one embedding [T, 12 * d]


class Krea2(Family):
    """diffusers' `Krea2Transformer2DModel`."""

    name = "krea2"
    transformer = "Krea2Transformer2DModel"
    pipeline = "Krea2Pipeline"
    prompt_in_order = False
    words_apart = False
    image_parts = ("img_in",)
    modulation = ("time_embed", "time_mod_proj")
    per_call = ("timestep", "attention_kwargs")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        last = inputs["position_ids"].amax(dim=0).int().tolist()
        return Grid(last[1] + 1, last[2] + 1)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        tokens = pack(latents)
        image_positions = positions(latents.shape[-2] // 2, latents.shape[-1] // 2, tokens)
        return {"hidden_states": tokens, "position_ids": image_positions, "timestep": timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": _by_layer(text), "encoder_attention_mask": text.mask_or_ones(torch.bool)}

    def joined(self, image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
        """With the positions of the text, which are zeros, before those of the image."""
        image_positions, tokens = image["position_ids"], text["encoder_hidden_states"].shape[1]
        return image | text | {"position_ids": torch.cat([image_positions.new_zeros(tokens, 3), image_positions])}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {"hidden_states": torch.zeros_like(tokens[:, :1]), "position_ids": tokens.new_zeros(1, 3)}

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        return standardised_latents(autoencoder, images)

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """[text, padding, tail of the chat template]: the pipeline drops the head. Padding is masked."""
        template = f"{pipeline.prompt_template_encode_prefix}{{}}{pipeline.prompt_template_encode_suffix}"
        dropped = pipeline.prompt_template_encode_start_idx
        rows = words_in_template(pipeline.tokenizer, template, texts, dropped, length)
        hidden, mask = pipeline.encode_prompt(list(texts), max_sequence_length=length)
        return [EncodedText(h.flatten(1), row, mask=m) for h, row, m in zip(hidden, rows, mask, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        embeddings, mask = _by_layer(text), text.mask_or_ones(torch.bool)
        return {
            "prompt_embeds": embeddings,
            "prompt_embeds_mask": mask,
            "negative_prompt_embeds": torch.zeros_like(embeddings) if negative is None else _by_layer(negative),
            "negative_prompt_embeds_mask": mask if negative is None else negative.mask_or_ones(torch.bool),
        }


def _by_layer(text: TextTokens) -> torch.Tensor:
    """[B, T, 12 * d] to [B, T, 12, d]."""
    return text.hidden.unflatten(-1, (TEXT_LAYERS, -1))
