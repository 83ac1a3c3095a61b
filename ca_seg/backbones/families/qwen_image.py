"""Qwen-Image: double-stream blocks throughout, text first.

latents [B, 16, 2h, 2w] --pack 2x2--> tokens [B, h*w, 64]      joint sequence: [text, image]

Text has places: token i stands at max(h // 2, w // 2) + i on every axis, right behind the image. Concepts all stand at
the first of these, so that their order means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.families.flux import pack
from ca_seg.backbones.text.template_tokens import own_in_template
from ca_seg.concept.grid import Grid


class QwenImage(Family):
    """diffusers' `QwenImageTransformer2DModel`."""

    name = "qwen-image"
    transformer = "QwenImageTransformer2DModel"
    pipeline = "QwenImagePipeline"
    per_call = ("timestep", "guidance", "attention_kwargs")
    guidance_argument = "true_cfg_scale"
    small = SmallModel(
        config={
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 3,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 6, 6),
        },
        text=24,
        pooled=None,
        latents=(4, 6, 10),
        grid=Grid(3, 5),
    )

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        shape = inputs["img_shapes"][0]
        _, height, width = shape[0] if isinstance(shape, list) else shape
        return Grid(height, width)

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        height, width = (side // 2 for side in latents.shape[-2:])
        return {
            "hidden_states": pack(latents),
            "img_shapes": [[(1, height, width)]] * len(latents),
            "timestep": timesteps,
            "guidance": torch.full_like(timesteps, guidance) if transformer.config.guidance_embeds else None,
        }

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        mask = None if concepts or text.mask is None or bool(text.mask.all()) else text.mask
        return {"encoder_hidden_states": text.hidden, "encoder_hidden_states_mask": mask}

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {"hidden_states": torch.zeros_like(tokens[:, :1]), "img_shapes": [[(1, 1, 1)]] * len(tokens)}

    @contextmanager
    def asking(self, transformer: nn.Module, grid: Grid) -> Iterator[None]:
        """Every text token at the first place behind an image of `grid`, whatever image the call has."""

        def at_one_place(places: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            image, text = output
            _, first = places.forward([(1, grid.height, grid.width)], max_txt_seq_len=1, device=image.device)
            return image, first.expand_as(text)

        hook = transformer.pos_embed.register_forward_hook(at_one_place, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def encode(self, autoencoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
        latents = autoencoder.encode(images[:, :, None]).latent_dist.mode()
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(latents)
            for values in (autoencoder.config.latents_mean, autoencoder.config.latents_std)
        )
        return ((latents - mean) / std)[:, :, 0]

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """What follows the template's first tokens, which the pipeline drops; its last ones stay behind the text."""
        dropped = pipeline.prompt_template_encode_start_idx
        rows = own_in_template(pipeline.tokenizer, pipeline.prompt_template_encode, texts, dropped, length)
        encoded = []
        for text, own in zip(texts, rows, strict=True):
            hidden, _ = pipeline.encode_prompt(text, max_sequence_length=length)
            encoded.append(EncodedText(hidden[0], own[: hidden.shape[1]]))
        return encoded

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        return {"prompt_embeds": text.hidden, "prompt_embeds_mask": text.mask}
