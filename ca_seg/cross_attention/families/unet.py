"""Stable Diffusion 1.5, 2 and XL: a U-Net (Rombach et al. 2022, Podell et al. 2023).

The grids of its cross-attentions, for latents of 64 x 64 (XL has none on the largest grid and three levels):

    down   64 x 64 ► 32 x 32 ► 16 x 16 ►  mid 8 x 8  ► 16 x 16 ► 32 x 32 ► 64 x 64   up
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import scaled
from ca_seg.cross_attention.families.noise_table import NoiseTableFamily
from ca_seg.errors import UserError

MAX_HALVINGS = 8  # of the latents; no published U-Net has more than three


class UNetFamily(NoiseTableFamily):
    """`StableDiffusionPipeline`, for SD 1.x and 2.x."""

    name = "stable-diffusion"
    pipelines = ("StableDiffusionPipeline",)
    latents_argument = "sample"
    per_row = ("encoder_hidden_states", "added_cond_kwargs", "timestep_cond")

    def denoisers(self, pipeline: Any) -> tuple[Any, ...]:
        return (pipeline.unet,)

    def layers(self, denoiser: Any) -> dict[str, nn.Module]:
        return {name: module for name, module in super().layers(denoiser).items() if module.is_cross_attention}

    def resolution(self, pipeline: Any) -> int:
        return int(pipeline.unet.config.sample_size * pipeline.vae_scale_factor)

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.vae_scale_factor)

    def text_length(self, pipeline: Any) -> int:
        return int(pipeline.tokenizer.model_max_length)

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        return str(pipeline.maybe_convert_prompt(prompt, pipeline.tokenizer))  # textual inversions

    def encode(self, pipeline: Any, images: torch.Tensor) -> torch.Tensor:
        vae = pipeline.vae
        if vae.dtype != torch.float16 or not vae.config.force_upcast:
            return super().encode(pipeline, images)
        vae.to(torch.float32)  # as the pipeline itself does: this autoencoder overflows in float16
        try:
            return scaled(vae.encode(images.float()).latent_dist.mode(), vae.config).half()
        finally:
            vae.to(torch.float16)

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        _, height, width = self.latent_size(call)
        for _ in range(MAX_HALVINGS):
            if height * width == tokens:
                return Grid(height, width)
            height, width = -(-height // 2), -(-width // 2)  # a convolution of stride 2 rounds up
        raise UserError(f"a cross-attention with {tokens} image tokens is on no grid of this U-Net")

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        side = 2 ** (len(denoiser.config.block_out_channels) - 1)
        return torch.zeros(1, denoiser.config.in_channels, side, side)


class SDXLFamily(UNetFamily):
    """`StableDiffusionXLPipeline`."""

    name = "stable-diffusion-xl"
    pipelines = ("StableDiffusionXLPipeline",)
