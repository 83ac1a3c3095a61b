"""AuraFlow (fal, 2024; weights and code, no paper): four double-stream blocks, then single-stream blocks, text first.

latents [B, 4, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [registers, text, image]

Eight learned registers come before the text. Text has no positions. The image's positions are a learned table, of which
an image uses the middle. There is no mask: the embeddings of padding are zero, and they take part in the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, TextTokens
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.tokens import word_tokens


class AuraFlow(PatchedLatents):
    """diffusers' `AuraFlowTransformer2DModel`: AuraFlow 0.1 to 0.3 and finetunes."""

    name = "auraflow"
    transformer = "AuraFlowTransformer2DModel"
    pipeline = "AuraFlowPipeline"
    block_lists = ("joint_transformer_blocks", "single_transformer_blocks")
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "attention_kwargs")

    def registers(self, transformer: Any) -> int:
        return int(transformer.register_tokens.shape[1])

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": timesteps}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        is_word = word_tokens(pipeline.tokenizer, texts, length)
        if pipeline.tokenizer.padding_side == "left":
            counts = [len(pipeline.tokenizer(text).input_ids) for text in texts]
            is_word = torch.stack([row.roll(length - count) for row, count in zip(is_word, counts, strict=True)])
        hidden, *_ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, is_word, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        """With masks, which the pipeline requires and does not use."""
        mask = text.mask_or_ones(torch.long)
        return super().prompt_arguments(text, negative) | {
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask if negative is None else negative.mask_or_ones(mask.dtype),
        }
