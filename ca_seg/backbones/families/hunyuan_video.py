"""HunyuanVideo (Kong et al., 2024, arXiv:2412.03603): double-stream, then single-stream blocks, video first.

An image is a video of one frame.

latents [B, 16, f, 2h, 2w] --the transformer's own 2x2 patches of each frame--> tokens, frame by frame
text    Llama tokens --two blocks of self-attention (the refiner)--> tokens          joint sequence: [video, text]

Text has no positions. Concepts go through the refiner together, as a prompt's tokens do. It uses their mean and lets
them attend to one another, so the map of a concept depends on which other concepts are asked with it, but not on their
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, Family, TextTokens
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.concept.grid import Grid


class HunyuanVideo(Family):
    """diffusers' `HunyuanVideoTransformer3DModel` (text to video)."""

    name = "hunyuan-video"
    transformer = "HunyuanVideoTransformer3DModel"
    pipeline = "HunyuanVideoPipeline"
    prompt_in_order = False
    words_apart = False
    text_first = False
    video = True
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "guidance", "attention_kwargs")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        frames, height, width = inputs["hidden_states"].shape[2:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames // transformer.config.patch_size_t)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "guidance": torch.full_like(timesteps, 1000 * guidance),
        }

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {
            "encoder_hidden_states": text.hidden,
            "encoder_attention_mask": text.mask_or_ones(text.hidden.dtype),
            "pooled_projections": text.pooled,
        }

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        patch, frames = transformer.config.patch_size, transformer.config.patch_size_t
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][:, :, :frames, :patch, :patch])}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """`length` Llama tokens after the head of the chat template, which the pipeline drops, and CLIP's vector."""
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import (  # here: an older diffusers lacks it
            DEFAULT_PROMPT_TEMPLATE,
        )

        template: Any = DEFAULT_PROMPT_TEMPLATE
        is_word = words_in_template(pipeline.tokenizer, template["template"], texts, template["crop_start"], length)
        hidden, pooled, mask = pipeline.encode_prompt(list(texts), max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, is_word, pooled, mask.bool(), strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        return {
            "prompt_embeds": text.hidden,
            "pooled_prompt_embeds": text.pooled,
            "prompt_attention_mask": text.mask_or_ones(torch.bool),
        }
