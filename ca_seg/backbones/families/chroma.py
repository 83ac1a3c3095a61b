"""Chroma: FLUX.1's blocks, with the modulation of every block made by one small network from the timestep alone.

No pooled text vector and no guidance. Of a prompt's padding only the first token is meant to attend. The stock pipeline
(diffusers 0.36.0 and 0.42.1) gives that mask as numbers, 1 for a token and 0 for padding, and the attention adds
numbers to its logits: padding is seen e times less, not left out. A recording is of the stock call, so it is the same
here. A concept has no padding, and is asked without a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, SmallModel, TextTokens
from ca_seg.backbones.families.flux import PackedLatents
from ca_seg.backbones.text.tokens import own_tokens
from ca_seg.concept.grid import Grid


class Chroma(PackedLatents):
    """diffusers' `ChromaTransformer2DModel`: Chroma1-HD, Chroma1-Base and finetunes."""

    name = "chroma"
    transformer = "ChromaTransformer2DModel"
    pipeline = "ChromaPipeline"
    per_call = ("timestep", "joint_attention_kwargs")
    small = SmallModel(
        config={
            "in_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 6, 6),
            "approximator_num_channels": 16,
            "approximator_hidden_dim": 32,
            "approximator_layers": 1,
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "txt_ids": text.hidden.new_zeros(text.hidden.shape[1], 3)}

    def inputs(
        self, transformer: nn.Module, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """With the mask that the stock pipeline makes: text as it says, then every image token."""
        call = super().inputs(transformer, latents, text, timesteps, guidance)
        if text.mask is None:
            return call
        seen = text.mask.to(text.hidden.dtype)
        return call | {"attention_mask": torch.cat([seen, seen.new_ones(call["hidden_states"].shape[:2])], dim=1)}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        own = own_tokens(pipeline.tokenizer, texts, length)
        hidden, _, mask, *_ = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, max_sequence_length=length
        )
        return [EncodedText(h, o, None, m.bool()) for h, o, m in zip(hidden, own, mask, strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        mask = torch.ones_like(text.hidden[..., 0]) if text.mask is None else text.mask.to(text.hidden.dtype)
        return {
            "prompt_embeds": text.hidden,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": torch.zeros_like(text.hidden),
            "negative_prompt_attention_mask": mask,
        }
