"""Sana (Xie et al. 2024): linear attention among image tokens, softmax attention to Gemma's text; padding is masked.

The pipeline puts a long instruction before the prompt. Of the text it keeps the first token, the last token of the
instruction, and what follows.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.families.base import CrossFamily, patched_grid, scaled
from ca_seg.cross_attention.words import PromptTokens, tokenise

LENGTH = 300


class SanaFamily(CrossFamily):
    """`SanaPipeline`."""

    name = "sana"
    pipelines = ("SanaPipeline",)

    def resolution(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.sample_size * pipeline.vae_scale_factor)

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.patch_size * pipeline.vae_scale_factor)

    def text_length(self, pipeline: Any) -> int:
        return len(pipeline.tokenizer.encode(_instruction(pipeline))) + LENGTH - 2

    def pipeline_arguments(self, prompt: str, height: int, width: int) -> dict[str, Any]:
        return super().pipeline_arguments(prompt, height, width) | {"use_resolution_binning": False}

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        return _instruction(pipeline) + str(pipeline._text_preprocessing(prompt, clean_caption=False)[0])

    def tokens(self, pipeline: Any, prompt: str) -> PromptTokens:
        text = self.prepared_text(pipeline, prompt)
        whole = tokenise(pipeline.tokenizer, text, self.text_length(pipeline))
        spans = whole.spans[:1] + whole.spans[1 - LENGTH :]
        return replace(whole, spans=spans, padding=whole.padding[:1] + whole.padding[1 - LENGTH :])

    def encode(self, pipeline: Any, images: torch.Tensor) -> torch.Tensor:
        return scaled(pipeline.vae.encode(images).latent, pipeline.vae.config)

    def timestep_input(self, pipeline: Any, timestep: float) -> float:
        return super().timestep_input(pipeline, timestep) * float(pipeline.transformer.config.timestep_scale)

    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        patch = denoiser.config.patch_size
        return patched_grid(self.latent_size(call), (1, patch, patch), tokens)

    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        patch = denoiser.config.patch_size
        return torch.zeros(1, denoiser.config.in_channels, patch, patch)


def _instruction(pipeline: Any) -> str:
    """The instruction that the stock pipeline puts before a prompt."""
    default = inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"].default
    return "\n".join(default or ())
