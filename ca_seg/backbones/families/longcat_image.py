"""LongCat-Image (Meituan, 2025, arXiv:2512.07584): FLUX.1's blocks without pooled text and guidance.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]

Positions: (1, 512 + row, 512 + column) for an image token, (0, i, i) for text token i, (0, 0, 0) for every concept.
The text (Qwen2.5-VL) is padded to 512 tokens, and padding takes part in the attention. A reference picture of
LongCat-Image-Edit has 2 in the first place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, TextTokens
from ca_seg.backbones.families.flux import PackedLatents, pack, positions, same_positions
from ca_seg.backbones.text.tokens import check_length
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError

IMAGE, REFERENCE = 1, 2  # on the first axis of positions
FIRST_ROW = 512  # and column: the text comes before


class LongCatImage(PackedLatents):
    """diffusers' `LongCatImageTransformer2DModel`, without its rewriting of prompts."""

    name = "longcat-image"
    transformer = "LongCatImageTransformer2DModel"
    pipeline = "LongCatImagePipeline"
    image_branch = IMAGE_BRANCH
    per_call = ("timestep",)
    takes_encoded_prompts = False

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        ids = inputs["img_ids"][inputs["img_ids"][:, 0] == IMAGE]
        _, height, width = (ids.amax(dim=0) - ids.amin(dim=0) + 1).int().tolist()
        return Grid(height, width)

    def reference_tokens(self, transformer: Any, inputs: dict[str, Any]) -> int:
        return int((inputs["img_ids"][:, 0] == REFERENCE).sum())

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        tokens = pack(latents)
        first = tokens.new_tensor([IMAGE, FIRST_ROW, FIRST_ROW])
        image_positions = positions(latents.shape[-2] // 2, latents.shape[-1] // 2, tokens) + first
        return {"hidden_states": tokens, "img_ids": image_positions, "timestep": timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        text_positions = same_positions(text)
        if not concepts:
            text_positions[:, 1:] = torch.arange(len(text_positions)).to(text_positions)[:, None]
        return {"encoder_hidden_states": text.hidden, "txt_ids": text_positions}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The tokens between head and tail of the chat template, which the pipeline drops both, and their padding."""
        from diffusers.pipelines.longcat_image.pipeline_longcat_image import (  # here: an older diffusers lacks it
            split_quotation,
        )

        encoded = []
        for text in texts:
            parts = [letter for part, quoted in split_quotation(text) for letter in (part if quoted else [part])]
            count = sum(len(pipeline.tokenizer(part, add_special_tokens=False)["input_ids"]) for part in parts)
            check_length(text, count, length)
            hidden, _ = pipeline.encode_prompt(text)
            is_word = torch.zeros(hidden.shape[1], dtype=torch.bool)
            is_word[: count or 1] = True
            encoded.append(EncodedText(hidden[0], is_word))
        return encoded

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        raise UserError(
            "LongCat-Image's pipeline takes a text and no encoded prompt, so that nothing is generated with it here",
            fix="call the pipeline yourself inside a ca_seg.GenerationTrace, with enable_prompt_rewrite=False",
        )
