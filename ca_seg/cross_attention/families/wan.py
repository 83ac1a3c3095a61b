"""Wan 2.1 and 2.2 (Wan Team 2025): text-to-video transformers with UMT5 text, padded with zeros and not masked.

Wan 2.2 A14B has two transformers: one for the noisy timesteps, one for the others. Image-to-video models see the first
frame beside the noised latents; those of Wan 2.1 also attend to its CLIP tokens, before the text and apart from it:

    attn2    softmax(q k_picture) v_picture + softmax(q k_text) v_text        the second one is read
"""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import CrossFamily, patched_grid


class WanFamily(CrossFamily):
    """`WanPipeline`, and `WanImageToVideoPipeline` while it generates."""

    name = "wan"
    pipelines = ("WanPipeline", "WanImageToVideoPipeline")
    video = True
    per_row = ("encoder_hidden_states",)

    def denoisers(self, pipeline: Any) -> tuple[Any, ...]:
        both = (pipeline.transformer, getattr(pipeline, "transformer_2", None))
        return tuple(denoiser for denoiser in both if denoiser is not None)

    def denoiser(self, pipeline: Any, timestep: float) -> Any:
        boundary = pipeline.config.boundary_ratio
        if boundary is None or timestep >= boundary or pipeline.transformer_2 is None:
            return self.denoisers(pipeline)[0]
        return pipeline.transformer_2

    def attends(self, denoiser: Any) -> int:
        return 1 if denoiser.config.added_kv_proj_dim is None else 2

    def reads_pictures(self, pipeline: Any) -> bool:
        return "WanImageToVideoPipeline" not in {base.__name__ for base in type(pipeline).__mro__}

    def resolution(self, pipeline: Any) -> int:
        return 480

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.vae_scale_factor_spatial * self.denoisers(pipeline)[0].config.patch_size[-1])

    def text_length(self, pipeline: Any) -> int:
        return 512

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        from diffusers.pipelines.wan.pipeline_wan import (
            prompt_clean,
        )  # here: a diffusers without Wan has no such module

        return str(prompt_clean(prompt))

    def with_image(
        self, denoiser: Any, call: dict[str, Any], latents: torch.Tensor, times: torch.Tensor
    ) -> dict[str, Any]:
        changed = super().with_image(denoiser, call, latents, times)
        if call["timestep"].ndim == 2:  # Wan 2.2 TI2V: one timestep for each token
            frames, height, width = (s // p for s, p in zip(latents.shape[2:], denoiser.config.patch_size, strict=True))
            changed["timestep"] = changed["timestep"][:, None].expand(-1, frames * height * width)
        return changed

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        return patched_grid(self.latent_size(call), tuple(denoiser.config.patch_size), tokens)

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        return torch.zeros(1, denoiser.config.in_channels, *denoiser.config.patch_size)
