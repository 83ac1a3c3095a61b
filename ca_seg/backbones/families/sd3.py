"""Stable Diffusion 3 and 3.5: double-stream blocks with the image first in the joint sequence.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [image, text]

The last block gives no text back, but its text still attends. In 3.5-medium the first blocks hold a second attention,
of the image alone; a concept has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, SmallModel, TextTokens
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.tokens import own_tokens
from ca_seg.concept.grid import Grid


class StableDiffusion3(PatchedLatents):
    """diffusers' `SD3Transformer2DModel`: SD3-medium, SD3.5-medium, SD3.5-large, SD3.5-large-turbo."""

    name = "sd3"
    transformer = "SD3Transformer2DModel"
    pipeline = "StableDiffusion3Pipeline"
    text_first = False
    per_call = ("timestep", "joint_attention_kwargs")
    small = SmallModel(
        config={
            "sample_size": 16,
            "patch_size": 2,
            "in_channels": 4,
            "num_layers": 3,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "caption_projection_dim": 64,
            "pooled_projection_dim": 20,
            "out_channels": 4,
            "pos_embed_max_size": 16,
            "dual_attention_layers": (0, 1),
            "qk_norm": "rms_norm",
        },
        text=24,
        pooled=20,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": 1000 * timesteps}

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "pooled_projections": text.pooled}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """77 CLIP tokens (two CLIPs side by side, zeros behind), then `length` T5 tokens, as the stock pipeline.

        A concept's own tokens are its T5 tokens: CLIP's first token is the same for every text.
        """
        hidden, _, pooled, _ = pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            prompt_3=None,
            do_classifier_free_guidance=False,
            max_sequence_length=length,
        )
        t5 = own_tokens(pipeline.tokenizer_3, texts, length)
        own = torch.cat([t5.new_zeros(len(t5), hidden.shape[1] - length), t5], dim=1)
        return [EncodedText(*parts) for parts in zip(hidden, own, pooled, strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        """Without a negative prompt: the empty embedding stands for it where guidance asks for one."""
        return {
            "prompt_embeds": text.hidden,
            "pooled_prompt_embeds": text.pooled,
            "negative_prompt_embeds": torch.zeros_like(text.hidden),
            "negative_pooled_prompt_embeds": torch.zeros_like(text.pooled),
        }
