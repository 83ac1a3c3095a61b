"""Kandinsky 5 (Kandinsky Lab 2025): pictures and videos, with Qwen2.5-VL text that is refined before the image blocks.

Latents have their channels last: [B, frames, h, w, c]. The text keys depend on the timestep, through the refiner.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import CrossFamily, patched_grid
from ca_seg.cross_attention.words import PromptTokens, tokenise
from ca_seg.errors import UserError

LENGTH = 512


class Kandinsky5Family(CrossFamily):
    """`Kandinsky5T2VPipeline`."""

    name = "kandinsky5-video"
    pipelines = ("Kandinsky5T2VPipeline",)
    video = True
    per_row = ("encoder_hidden_states", "pooled_projections")

    def layers(self, denoiser: Any) -> dict[str, nn.Module]:
        blocks = denoiser.visual_transformer_blocks
        return {f"visual_transformer_blocks.{i}.cross_attention": b.cross_attention for i, b in enumerate(blocks)}

    def resolution(self, pipeline: Any) -> int:
        return 512

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.vae_scale_factor_spatial * pipeline.transformer.config.patch_size[-1])

    def text_length(self, pipeline: Any) -> int:
        return int(pipeline.prompt_template_encode_start_idx) + LENGTH

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        from diffusers.pipelines.kandinsky5.pipeline_kandinsky import prompt_clean  # here: newer than some diffusers

        return str(pipeline.prompt_template.format(prompt_clean(prompt)))

    def tokens(self, pipeline: Any, prompt: str) -> PromptTokens:
        text = self.prepared_text(pipeline, prompt)
        whole = tokenise(self.tokenizer(pipeline), text, self.text_length(pipeline), pad=False)
        start = pipeline.prompt_template_encode_start_idx
        return replace(whole, spans=whole.spans[start:], padding=whole.padding[start:], ids=whole.ids[start:])

    def tokenizer(self, pipeline: Any) -> Any:
        return getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)  # of a processor of text and pictures

    def with_image(
        self, denoiser: Any, call: dict[str, Any], latents: torch.Tensor, times: torch.Tensor
    ) -> dict[str, Any]:
        if call.get("sparse_params") is not None:
            raise UserError(
                "this Kandinsky 5 attends sparsely, and orders its image tokens by blocks",
                fix="load weights with attention_type 'regular', such as the 5-second ones",
            )
        last = latents.moveaxis(1, -1)
        conditioned = pad(last, (0, call["hidden_states"].shape[-1] - last.shape[-1]))  # no picture as a condition
        sides = [side // p for side, p in zip(latents.shape[2:], denoiser.config.patch_size, strict=True)]
        positions = [torch.arange(side, device=latents.device) for side in sides]
        return super().with_image(denoiser, call, conditioned, times) | {"visual_rope_pos": positions}

    def latent_size(self, call: dict[str, Any]) -> tuple[int, int, int]:
        frames, height, width = call["hidden_states"].shape[1:4]
        return frames, height, width

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        return patched_grid(self.latent_size(call), tuple(denoiser.config.patch_size), tokens)

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        return torch.zeros(1, denoiser.config.in_visual_dim, *denoiser.config.patch_size)


class Kandinsky5ImageFamily(Kandinsky5Family):
    """`Kandinsky5T2IPipeline`. Its autoencoder is one of pictures, its latents have one frame."""

    name = "kandinsky5-image"
    pipelines = ("Kandinsky5T2IPipeline",)
    video = False

    def resolution(self, pipeline: Any) -> int:
        return 1024

    def encode(self, pipeline: Any, images: torch.Tensor) -> torch.Tensor:
        return super().encode(pipeline, images)[:, :, None]
