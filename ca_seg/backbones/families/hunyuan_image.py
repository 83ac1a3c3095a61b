"""HunyuanImage 2.1: double-stream blocks, then single-stream blocks, image first; each latent is one token.

latents [B, 64, h, w], one for 32 x 32 pixels --> tokens                              joint sequence: [image, text]
text    Qwen2.5-VL tokens --two blocks of self-attention (the refiner)--> tokens

Text has no places. Concepts go through the refiner together, as a prompt's tokens do: what a concept says depends on
which others were asked with it, but not on their order. A second encoder (ByT5) reads letters that a prompt puts in
quotes; without quotes the stock pipeline gives masked zeros in its place, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.text.template_tokens import own_in_template
from ca_seg.backbones.text.tokens import shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError

LETTERS = (128, 1472)  # tokens and width of the stock pipeline's second encoder, in every published version


class HunyuanImage(Family):
    """diffusers' `HunyuanImageTransformer2DModel`: HunyuanImage 2.1, and its distilled version's last step."""

    name = "hunyuan-image"
    transformer = "HunyuanImageTransformer2DModel"
    pipeline = "HunyuanImagePipeline"
    text_first = False
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    per_call = ("timestep", "timestep_r", "guidance", "attention_kwargs")
    guidance_argument = "distilled_guidance_scale"
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
            "use_meanflow": True,
            "text_embed_dim": 24,
            "text_embed_2_dim": LETTERS[1],
            "rope_axes_dim": (8, 8),
        },
        text=24,
        pooled=None,
        latents=(4, 3, 5),
        grid=Grid(3, 5),
    )

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        sides = zip(inputs["hidden_states"].shape[-2:], transformer.config.patch_size, strict=True)
        return Grid(*(side // patch for side, patch in sides))

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The distilled model is told the step's end as well: 0, as in the stock pipeline's last step."""
        config = transformer.config
        return {
            "hidden_states": latents,
            "timestep": 1000 * timesteps,
            "timestep_r": torch.zeros_like(timesteps) if config.use_meanflow else None,
            "guidance": torch.full_like(timesteps, 1000 * guidance) if config.guidance_embeds else None,
        }

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        hidden, mask = text.hidden, _mask(text)
        own = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        if concepts or transformer.config.text_embed_2_dim is None:
            return own
        letters, none = _no_letters(hidden)
        return own | {"encoder_hidden_states_2": letters, "encoder_attention_mask_2": none}

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        height, width = transformer.config.patch_size
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][..., :height, :width])}

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The first `length` of the stock pipeline's 1000 tokens; later ones are padding, which nobody sees.

        Raises UserError for a text with quotes.
        """
        from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import (  # only here: an older diffusers lacks it
            extract_glyph_text,
        )

        for text in texts:
            if extract_glyph_text(text) is not None:
                raise UserError(
                    f"the text {shortened(text)!r} has letters in quotes, for HunyuanImage's second encoder",
                    allowed="text without quotes",
                )
        template, dropped = pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx
        own = own_in_template(pipeline.tokenizer, template, texts, dropped, length)
        hidden, mask, *_ = pipeline.encode_prompt(list(texts), batch_size=len(texts))
        rows = zip(hidden[:, :length], own, mask[:, :length].bool(), strict=True)
        return [EncodedText(tokens, mine, mask=seen) for tokens, mine, seen in rows]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        letters, none = _no_letters(text.hidden)
        return {
            "prompt_embeds": text.hidden,
            "prompt_embeds_mask": _mask(text),
            "prompt_embeds_2": letters,
            "prompt_embeds_mask_2": none,
        }


def _mask(text: TextTokens) -> torch.Tensor:
    return torch.ones_like(text.hidden[..., 0], dtype=torch.long) if text.mask is None else text.mask.long()


def _no_letters(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the second encoder gives for a prompt without quotes: zeros [B, 128, 1472] and a mask of zeros."""
    return like.new_zeros(len(like), *LETTERS), like.new_zeros(len(like), LETTERS[0], dtype=torch.long)
