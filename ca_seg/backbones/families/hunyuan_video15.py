"""HunyuanVideo 1.5 (Tencent, 2025, arXiv:2511.18870): double-stream blocks throughout, video first.

An image is a video of one frame.

latents [B, 32, f, h, w], with as many zeros and a mask of zeros where an image could be given --> tokens
text    Qwen2.5-VL tokens --two blocks of self-attention (the refiner)--> tokens
joint sequence: [video, text, padding]

Text has no positions. Concepts go through the refiner together, as a prompt's tokens do: the map of a concept depends
on which other concepts are asked with it, but not on their order. A second encoder (ByT5) reads letters that a prompt
puts in quotes, a third one an image. Without these the stock pipeline gives masked zeros, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, Family, TextTokens
from ca_seg.backbones.text.template_tokens import words_by_difference
from ca_seg.backbones.text.tokens import check_length, shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError

LETTERS = (256, 1472)  # tokens and width of the stock pipeline's second encoder, in every published version
IMAGE_TOKENS = 729  # of its image encoder


class HunyuanVideo15(Family):
    """diffusers' `HunyuanVideo15Transformer3DModel` (text to video)."""

    name = "hunyuan-video-1.5"
    transformer = "HunyuanVideo15Transformer3DModel"
    pipeline = "HunyuanVideo15Pipeline"
    prompt_in_order = False
    words_apart = False
    text_first = False
    video = True
    image_branch = IMAGE_BRANCH
    per_call = ("timestep", "timestep_r", "attention_kwargs")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        frames, height, width = inputs["hidden_states"].shape[2:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames // transformer.config.patch_size_t)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        no_image = latents.new_zeros(len(latents), latents.shape[1] + 1, *latents.shape[2:])
        return {"hidden_states": torch.cat([latents, no_image], dim=1), "timestep": 1000 * timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        """Concepts come without the masked zeros: they would only follow them."""
        letters, mask = _no_letters(text.hidden)
        image = text.hidden.new_zeros(len(letters), IMAGE_TOKENS, transformer.config.image_embed_dim)
        if concepts:
            letters, mask, image = letters[:, :0], mask[:, :0], image[:, :0]
        return {
            "encoder_hidden_states": text.hidden,
            "encoder_attention_mask": text.mask_or_ones(text.hidden.dtype),
            "encoder_hidden_states_2": letters,
            "encoder_attention_mask_2": mask,
            "image_embeds": image,
        }

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        patch, frames = transformer.config.patch_size, transformer.config.patch_size_t
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][:, :, :frames, :patch, :patch])}

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        """One by one: the autoencoder of diffusers 0.42.1 fails on a batch of several."""
        return torch.cat([super(HunyuanVideo15, self).encode(autoencoder, image[None]) for image in images])

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The first `length` of the stock pipeline's 1000 tokens; the others are padding and masked.

        Raises UserError for a text with quotes.
        """
        from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import (  # an older diffusers lacks it
            extract_glyph_texts,
            format_text_input,
        )

        def token_ids(text: str) -> torch.Tensor:
            chat = format_text_input([text], pipeline.system_message)
            tokens = pipeline.tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            return torch.as_tensor(tokens["input_ids"][0])[pipeline.prompt_template_encode_start_idx :]

        empty, encoded = token_ids(""), []
        for text in texts:
            if extract_glyph_texts(text) is not None:
                raise UserError(
                    f"the text {shortened(text)!r} has letters in quotes, for HunyuanVideo's second encoder",
                    allowed="text without quotes",
                )
            ids = token_ids(text)
            check_length(text, len(ids), length)
            hidden, mask, *_ = pipeline.encode_prompt(text)
            is_word = torch.zeros(min(length, hidden.shape[1]), dtype=torch.bool)
            is_word[: len(ids)] = words_by_difference(ids, empty)
            encoded.append(EncodedText(hidden[0, :length], is_word, mask=mask[0, :length].bool()))
        return encoded

    def loop_latents(self, transformer: Any, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def placeholders(self) -> dict[str, Any]:
        """The pipeline reads the number of channels from its autoencoder: here one without numbers."""
        from diffusers import AutoencoderKLHunyuanVideo15  # here: an older diffusers lacks it

        with torch.device("meta"):
            return {"vae": AutoencoderKLHunyuanVideo15(block_out_channels=(64,) * 5, layers_per_block=1)}

    def guided(self, pipeline: Any, guidance: float) -> dict[str, Any]:
        """The scale is a setting of the pipeline's guider, and no argument."""
        from diffusers import ClassifierFreeGuidance  # here: an older diffusers lacks it

        pipeline.guider = ClassifierFreeGuidance(guidance_scale=max(guidance, 1.0))
        return {}

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        away = TextTokens(torch.zeros_like(text.hidden), mask=text.mask) if negative is None else negative
        return _arguments(text, "") | _arguments(away, "negative_")


def _arguments(text: TextTokens, prefix: str) -> dict[str, Any]:
    letters, mask = _no_letters(text.hidden)
    return {
        f"{prefix}prompt_embeds": text.hidden,
        f"{prefix}prompt_embeds_mask": text.mask_or_ones(torch.long),
        f"{prefix}prompt_embeds_2": letters,
        f"{prefix}prompt_embeds_mask_2": mask,
    }


def _no_letters(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the second encoder gives for a prompt without quotes: zeros [B, 256, 1472] and a mask of zeros."""
    return like.new_zeros(len(like), *LETTERS), like.new_zeros(len(like), LETTERS[0])
