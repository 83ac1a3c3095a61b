"""AuraFlow: four double-stream blocks, then single-stream blocks of the same size, text first.

latents [B, 4, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [registers, text, image]

Eight learned registers stand before the text. Text has no places; the image's are a learned table, of which an image
takes the middle. There is no mask: the embeddings of padding are zero, and they attend.
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


class AuraFlow(PatchedLatents):
    """diffusers' `AuraFlowTransformer2DModel`: AuraFlow 0.1 to 0.3 and finetunes."""

    name = "auraflow"
    transformer = "AuraFlowTransformer2DModel"
    pipeline = "AuraFlowPipeline"
    block_lists = ("joint_transformer_blocks", "single_transformer_blocks")
    per_call = ("timestep", "attention_kwargs")
    small = SmallModel(
        config={
            "sample_size": 16,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "caption_projection_dim": 64,
            "pos_embed_max_size": 64,
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def registers(self, transformer: nn.Module) -> int:
        return transformer.register_tokens.shape[1]

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": timesteps}

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        own = own_tokens(pipeline.tokenizer, texts, length)
        if pipeline.tokenizer.padding_side == "left":
            used = [len(pipeline.tokenizer(text).input_ids) for text in texts]
            own = torch.stack([row.roll(length - count) for row, count in zip(own, used, strict=True)])
        hidden, *_ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, own, strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        """Without a negative prompt: zeros stand for it where guidance asks for one. Masks are asked for, not used."""
        mask = torch.ones_like(text.hidden[..., 0], dtype=torch.long)
        return {
            "prompt_embeds": text.hidden,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": torch.zeros_like(text.hidden),
            "negative_prompt_attention_mask": mask,
        }
