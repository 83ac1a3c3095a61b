"""Ovis-Image (Wang et al., Ovis-Image Technical Report, 2025): FLUX.1's blocks with gated MLPs, text from a chat model.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]

Positions: (0, row, column) for an image token, (0, i, i) for text token i, (0, 0, 0) for every concept. There is no
pooled text vector and no guidance. Padding is zeros and takes part in the attention.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, TextTokens
from ca_seg.backbones.families.flux import PackedLatents, same_positions
from ca_seg.backbones.text.template_tokens import words_by_difference
from ca_seg.backbones.text.tokens import check_length
from ca_seg.errors import UserError


class OvisImage(PackedLatents):
    """diffusers' `OvisImageTransformer2DModel`: Ovis-Image-7B."""

    name = "ovis-image"
    transformer = "OvisImageTransformer2DModel"
    pipeline = "OvisImagePipeline"
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "joint_attention_kwargs")

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        positions = same_positions(text)
        if not concepts:
            positions[:, 1:] = torch.arange(len(positions)).to(positions)[:, None]
        return {"encoder_hidden_states": text.hidden, "txt_ids": positions}

    def token_ids(self, pipeline: Any, text: str) -> torch.Tensor:
        """The ids of a text in the chat template, without padding and without a limit."""
        chat = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": pipeline.system_prompt + text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return torch.tensor(pipeline.tokenizer(chat, add_special_tokens=False)["input_ids"])

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The tokens after the head of the chat template, which the pipeline drops; its tail stays."""
        if "max_sequence_length" not in inspect.signature(pipeline.encode_prompt).parameters:
            raise UserError("this diffusers encodes Ovis-Image's texts at one length only", fix="upgrade diffusers")
        dropped, empty, encoded = pipeline.user_prompt_begin_id, self.token_ids(pipeline, ""), []
        for text in texts:
            ids = self.token_ids(pipeline, text)
            count = len(ids) - dropped
            check_length(text, count, length)
            is_word = torch.zeros(length, dtype=torch.bool)
            is_word[:count] = words_by_difference(ids, empty)[dropped:]
            hidden = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=length)[0]
            encoded.append(EncodedText(hidden[0], is_word))
        return encoded

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        """The pipeline's default negative prompt is "", which it does not accept together with embeddings."""
        return super().prompt_arguments(text, negative) | {"negative_prompt": None}
