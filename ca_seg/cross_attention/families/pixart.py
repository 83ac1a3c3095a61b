"""PixArt-Sigma (Chen et al. 2024): a diffusion transformer with T5 text; padding is masked."""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import patched_grid
from ca_seg.cross_attention.families.noise_table import NoiseTableFamily


class PixArtFamily(NoiseTableFamily):
    """`PixArtSigmaPipeline`."""

    name = "pixart-sigma"
    pipelines = ("PixArtSigmaPipeline",)
    per_row = ("encoder_hidden_states", "encoder_attention_mask", "added_cond_kwargs")

    def resolution(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.sample_size * pipeline.vae_scale_factor)

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.patch_size * pipeline.vae_scale_factor)

    def text_length(self, pipeline: Any) -> int:
        return 300

    def pipeline_arguments(self, prompt: str, height: int, width: int) -> dict[str, Any]:
        plain = {"use_resolution_binning": False, "clean_caption": False}  # cleaning may rewrite the words
        return super().pipeline_arguments(prompt, height, width) | plain

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        return str(pipeline._text_preprocessing(prompt, clean_caption=False)[0])

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        patch = denoiser.config.patch_size
        return patched_grid(self.latent_size(call), (1, patch, patch), tokens)

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        patch = denoiser.config.patch_size
        return torch.zeros(1, denoiser.config.in_channels, patch, patch)
