"""HunyuanImage 2.1 (Tencent, 2025; weights and code): double-stream, then single-stream blocks, image first.

latents [B, 64, h, w], one for 32 x 32 pixels --> tokens                              joint sequence: [image, text]
text    Qwen2.5-VL tokens --two blocks of self-attention (the refiner)--> tokens

Text has no positions. Concepts go through the refiner together, as a prompt's tokens do: the map of a concept depends
on which other concepts are asked with it, but not on their order. A second encoder (ByT5) reads letters that a prompt
puts in quotes. Without quotes the stock pipeline gives masked zeros instead, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, Family, TextTokens
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.backbones.text.tokens import shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError

LETTERS = (128, 1472)  # tokens and width of the stock pipeline's second encoder, in every published version


class HunyuanImage(Family):
    """diffusers' `HunyuanImageTransformer2DModel`: HunyuanImage 2.1, and its distilled version's last step."""

    name = "hunyuan-image"
    transformer = "HunyuanImageTransformer2DModel"
    pipeline = "HunyuanImagePipeline"
    prompt_in_order = False
    words_apart = False
    text_first = False
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "timestep_r", "guidance", "attention_kwargs")
    guidance_argument = "distilled_guidance_scale"

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        sides = zip(inputs["hidden_states"].shape[-2:], transformer.config.patch_size, strict=True)
        return Grid(*(side // patch for side, patch in sides))

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The distilled model also gets the timestep at the end of the step: 0, as in the pipeline's last step."""
        config = transformer.config
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "timestep_r": torch.zeros_like(timesteps) if config.use_meanflow else None,
            "guidance": self.guidance_input(transformer, timesteps, 1000 * guidance),
        }

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        first = {"encoder_hidden_states": text.hidden, "encoder_attention_mask": text.mask_or_ones(torch.long)}
        if concepts or transformer.config.text_embed_2_dim is None:
            return first
        letters, mask = _no_letters(text.hidden)
        return first | {"encoder_hidden_states_2": letters, "encoder_attention_mask_2": mask}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        height, width = transformer.config.patch_size
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][..., :height, :width])}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The first `length` of the stock pipeline's 1000 tokens; the others are padding and masked.

        Raises UserError for a text with quotes.
        """
        from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import (  # here: an older diffusers lacks it
            extract_glyph_text,
        )

        for text in texts:
            if extract_glyph_text(text) is not None:
                raise UserError(
                    f"the text {shortened(text)!r} has letters in quotes, for HunyuanImage's second encoder",
                    allowed="text without quotes",
                )
        template, dropped = pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx
        is_word = words_in_template(pipeline.tokenizer, template, texts, dropped, length)
        hidden, mask, *_ = pipeline.encode_prompt(list(texts), batch_size=len(texts))
        rows = zip(hidden[:, :length], is_word, mask[:, :length].bool(), strict=True)
        return [EncodedText(tokens, words, mask=attended) for tokens, words, attended in rows]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        letters, mask = _no_letters(text.hidden)
        prompt = {
            "prompt_embeds": text.hidden,
            "prompt_embeds_mask": text.mask_or_ones(torch.long),
            "prompt_embeds_2": letters,
            "prompt_embeds_mask_2": mask,
        }
        if negative is None:
            return prompt
        return prompt | {f"negative_{name}": value for name, value in self.prompt_arguments(negative).items()}


def _no_letters(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the second encoder gives for a prompt without quotes: zeros [B, 128, 1472] and a mask of zeros."""
    return like.new_zeros(len(like), *LETTERS), like.new_zeros(len(like), LETTERS[0], dtype=torch.long)
