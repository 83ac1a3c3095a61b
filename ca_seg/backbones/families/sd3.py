"""Stable Diffusion 3 and 3.5 (Esser et al., ICML 2024, arXiv:2403.03206): double-stream blocks, image first.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [image, text]

The last block returns no text, but its text still takes part in the attention. In 3.5-medium the first blocks have a
second attention, of the image alone; concepts have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, TextTokens
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.tokens import word_tokens


class StableDiffusion3(PatchedLatents):
    """diffusers' `SD3Transformer2DModel`: SD3-medium, SD3.5-medium, SD3.5-large, SD3.5-large-turbo."""

    name = "sd3"
    transformer = "SD3Transformer2DModel"
    pipeline = "StableDiffusion3Pipeline"
    text_first = False
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "joint_attention_kwargs")

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": 1000 * timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "pooled_projections": text.pooled}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """77 CLIP tokens (two CLIPs side by side, zeros behind), then `length` T5 tokens, as the stock pipeline.

        A concept's words are its T5 tokens: CLIP's first token is the same for every text.
        """
        hidden, _, pooled, _ = pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            prompt_3=None,
            do_classifier_free_guidance=False,
            max_sequence_length=length,
        )
        t5 = word_tokens(pipeline.tokenizer_3, texts, length)
        is_word = torch.cat([t5.new_zeros(len(t5), hidden.shape[1] - length), t5], dim=1)
        return [EncodedText(*parts) for parts in zip(hidden, is_word, pooled, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        assert text.pooled is not None
        return super().prompt_arguments(text, negative) | {
            "pooled_prompt_embeds": text.pooled,
            "negative_pooled_prompt_embeds": torch.zeros_like(text.pooled) if negative is None else negative.pooled,
        }
