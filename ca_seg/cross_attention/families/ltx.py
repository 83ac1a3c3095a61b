"""LTX-Video (HaCohen et al. 2024): a text-to-video transformer over packed latents, with T5 text; padding is masked."""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import CrossFamily, patched_grid


class LTXFamily(CrossFamily):
    """`LTXPipeline`. One latent is one token."""

    name = "ltx-video"
    pipelines = ("LTXPipeline",)
    video = True

    def resolution(self, pipeline: Any) -> int:
        return 512

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.vae_spatial_compression_ratio)

    def text_length(self, pipeline: Any) -> int:
        return 128

    def encode(self, pipeline: Any, images: torch.Tensor) -> torch.Tensor:
        vae = pipeline.vae
        latents = vae.encode(images).latent_dist.mode()
        scaled: torch.Tensor = pipeline._normalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )
        return scaled

    def with_image(
        self, denoiser: Any, call: dict[str, Any], latents: torch.Tensor, times: torch.Tensor
    ) -> dict[str, Any]:
        frames, height, width = latents.shape[2:]
        packed = latents.flatten(2).mT
        size = {"num_frames": frames, "height": height, "width": width}
        return super().with_image(denoiser, call, packed, times) | size

    def latent_size(self, call: dict[str, Any]) -> tuple[int, int, int]:
        return call["num_frames"], call["height"], call["width"]

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        return patched_grid(self.latent_size(call), (1, 1, 1), tokens)

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        return torch.zeros(1, denoiser.config.in_channels, 1, 1, 1)
