"""Qwen-Image (Wu et al., 2025, arXiv:2508.02324): double-stream blocks throughout, text first.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]

Text has positions: token i is at max(h // 2, w // 2) + i on every axis, right after the image. All concepts get the
first of these, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ca_seg.backbones.families.base import EncodedText, Family, TextTokens
from ca_seg.backbones.families.flux import pack
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.concept.grid import Grid


def standardised_latents(autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
    """Clean latents [B, c, h, w] of an autoencoder of videos, with the mean and deviation of its config."""
    latents = autoencoder.encode(images[:, :, None]).latent_dist.mode()
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(latents)
        for values in (autoencoder.config.latents_mean, autoencoder.config.latents_std)
    )
    return ((latents - mean) / std)[:, :, 0]


class QwenImage(Family):
    """diffusers' `QwenImageTransformer2DModel`."""

    name = "qwen-image"
    transformer = "QwenImageTransformer2DModel"
    pipeline = "QwenImagePipeline"
    words_apart = False
    image_branch = ("img_mod", "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out", "img_mlp")
    per_call = ("timestep", "guidance", "attention_kwargs")
    guidance_argument = "true_cfg_scale"

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        shape = inputs["img_shapes"][0]
        _, height, width = shape[0] if isinstance(shape, list) else shape
        return Grid(height, width)

    def reference_tokens(self, transformer: Any, inputs: dict[str, Any]) -> int:
        """Those of the pictures that Qwen-Image-Edit changes."""
        return int(inputs["hidden_states"].shape[1] - self.grid(transformer, inputs).tokens)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        height, width = (side // 2 for side in latents.shape[-2:])
        return {
            "hidden_states": pack(latents),
            "img_shapes": [[(1, height, width)]] * len(latents),
            "timestep": timesteps,
            "guidance": self.guidance_input(transformer, timesteps, guidance),
        }

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        mask = None if concepts or text.mask is None or bool(text.mask.all()) else text.mask
        return {"encoder_hidden_states": text.hidden, "encoder_hidden_states_mask": mask}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {"hidden_states": torch.zeros_like(tokens[:, :1]), "img_shapes": [[(1, 1, 1)]] * len(tokens)}

    @contextmanager
    def asking(self, transformer: Any, grid: Grid) -> Iterator[None]:
        """Every text token at the first position after an image of `grid`, whatever image the call has."""

        def same_text_position(pos_embed: Any, args: Any, kwargs: Any, output: Any) -> Any:
            image, text = output
            _, first = pos_embed.forward([(1, grid.height, grid.width)], max_txt_seq_len=1, device=image.device)
            return image, first.expand_as(text)

        hook = transformer.pos_embed.register_forward_hook(same_text_position, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        return standardised_latents(autoencoder, images)

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The tokens after the head of the chat template, which the pipeline drops; its tail stays.

        Editing pipelines put their pictures into the template. Texts are encoded without any, as to generate from text.
        """
        stock = diffusers_class(self, self.pipeline)
        if not isinstance(pipeline, stock):
            pipeline = stock(None, None, pipeline.text_encoder, pipeline.tokenizer, None)
        dropped = pipeline.prompt_template_encode_start_idx
        rows = words_in_template(pipeline.tokenizer, pipeline.prompt_template_encode, texts, dropped, length)
        encoded = []
        for text, is_word in zip(texts, rows, strict=True):
            hidden, _ = pipeline.encode_prompt(text, max_sequence_length=length)
            encoded.append(EncodedText(hidden[0], is_word[: hidden.shape[1]]))
        return encoded

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        prompt = {"prompt_embeds": text.hidden, "prompt_embeds_mask": text.mask}
        if negative is None:
            return prompt
        return prompt | {
            "negative_prompt_embeds": negative.hidden,
            "negative_prompt_embeds_mask": negative.mask,
        }
