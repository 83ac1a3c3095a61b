"""HunyuanVideo: double-stream blocks, then single-stream blocks, video first; an image is a video of one frame.

latents [B, 16, f, 2h, 2w] --the transformer's own 2x2 patches of each frame--> tokens, frame by frame
text    Llama tokens --two blocks of self-attention (the refiner)--> tokens          joint sequence: [video, text]

Text has no places. Concepts go through the refiner together, as a prompt's tokens do: it sees their mean and lets them
look at one another, so what a concept says depends on which others were asked with it, but not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.text.template_tokens import own_in_template
from ca_seg.concept.grid import Grid


class HunyuanVideo(Family):
    """diffusers' `HunyuanVideoTransformer3DModel` (text to video)."""

    name = "hunyuan-video"
    transformer = "HunyuanVideoTransformer3DModel"
    pipeline = "HunyuanVideoPipeline"
    text_first = False
    video = True
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    per_call = ("timestep", "guidance", "attention_kwargs")
    small = SmallModel(
        config={
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 4,
            "attention_head_dim": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "num_refiner_layers": 2,
            "guidance_embeds": True,
            "text_embed_dim": 24,
            "pooled_projection_dim": 20,
            "rope_axes_dim": (4, 6, 6),
        },
        text=24,
        pooled=20,
        latents=(4, 2, 6, 10),
        grid=Grid(3, 5, frames=2),
    )

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        frames, height, width = inputs["hidden_states"].shape[2:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames // transformer.config.patch_size_t)

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "guidance": torch.full_like(timesteps, 1000 * guidance),
        }

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        hidden = text.hidden
        mask = hidden.new_ones(hidden.shape[:2]) if text.mask is None else text.mask.to(hidden)
        return {
            "encoder_hidden_states": hidden,
            "encoder_attention_mask": mask,
            "pooled_projections": text.pooled,
        }

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        patch, frames = transformer.config.patch_size, transformer.config.patch_size_t
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][:, :, :frames, :patch, :patch])}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """`length` Llama tokens behind the chat template's head, which the pipeline cuts off, and CLIP's vector."""
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import (  # only here: an older diffusers lacks it
            DEFAULT_PROMPT_TEMPLATE,
        )

        template, dropped = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
        own = own_in_template(pipeline.tokenizer, template, texts, dropped, length)
        hidden, pooled, mask = pipeline.encode_prompt(list(texts), max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, own, pooled, mask.bool(), strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        mask = torch.ones_like(text.hidden[..., 0], dtype=torch.bool) if text.mask is None else text.mask
        return {
            "prompt_embeds": text.hidden,
            "pooled_prompt_embeds": text.pooled,
            "prompt_attention_mask": mask,
        }
