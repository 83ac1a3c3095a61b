"""Chroma (Lodestone Rock, 2025; weights and code, no paper): FLUX.1's blocks without pooled text and guidance.

One small network makes the modulation of every block from the timestep alone. Of a prompt's padding only the first
token should take part in the attention. The stock pipeline (diffusers 0.36.0 and 0.42.1) gives that mask as numbers,
1 for a token and 0 for padding, and the attention adds numbers to its logits: padding gets e times less weight and is
not excluded. A recording runs the stock call, so the same happens here. Concepts have no padding and are asked without
a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, TextTokens
from ca_seg.backbones.families.flux import PackedLatents, same_positions
from ca_seg.backbones.text.tokens import word_tokens


class Chroma(PackedLatents):
    """diffusers' `ChromaTransformer2DModel`: Chroma1-HD, Chroma1-Base and finetunes."""

    name = "chroma"
    transformer = "ChromaTransformer2DModel"
    pipeline = "ChromaPipeline"
    image_branch = IMAGE_BRANCH
    modulation = ("distilled_guidance_layer",)
    per_call = ("timestep", "joint_attention_kwargs")

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "txt_ids": same_positions(text)}

    def inputs(
        self, transformer: Any, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """With the mask of the stock pipeline: the text's mask, then ones for the image tokens."""
        call = super().inputs(transformer, latents, text, timesteps, guidance)
        if text.mask is None:
            return call
        mask = text.mask.to(text.hidden.dtype)
        return call | {"attention_mask": torch.cat([mask, mask.new_ones(call["hidden_states"].shape[:2])], dim=1)}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        is_word = word_tokens(pipeline.tokenizer, texts, length)
        hidden, _, mask, *_ = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, max_sequence_length=length
        )
        return [EncodedText(h, w, None, m.bool()) for h, w, m in zip(hidden, is_word, mask, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        mask = text.mask_or_ones(text.hidden.dtype)
        return super().prompt_arguments(text, negative) | {
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask if negative is None else negative.mask_or_ones(mask.dtype),
        }
