"""What differs between families of cross-attention models. Everything else is shared by all of them.

    picture ──encode──► latents ──noised──► with_image ─┐
    prompt  ──stock_call──► the pipeline's own call ────┴──► denoiser(**call) ──► layers: name -> attn2

A new family is one file with a subclass of `CrossFamily`, one line in `registry.py`, and a tiny stock pipeline in
`tests/cross_attention/tiny.py`. The contract tests then cover it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from ca_seg.concept.grid import Grid
from ca_seg.cross_attention.words import PromptTokens, tokenise
from ca_seg.errors import UserError


class CrossFamily(ABC):
    """One kind of stock pipeline of diffusers."""

    name: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]  # their classes in diffusers
    video: ClassVar[bool] = False  # latents have frames: [B, c, f, h, w]
    latents_argument: ClassVar[str] = "hidden_states"  # of the denoiser
    per_row: ClassVar[tuple[str, ...]] = ("encoder_hidden_states", "encoder_attention_mask")  # one row per image

    def denoisers(self, pipeline: Any) -> tuple[Any, ...]:
        """The networks that the pipeline's steps run."""
        return (pipeline.transformer,)

    def denoiser(self, pipeline: Any, timestep: float) -> Any:
        """The network that runs at a timestep, 0 (clean) to 1 (noise)."""
        return self.denoisers(pipeline)[0]

    def layers(self, denoiser: Any) -> dict[str, nn.Module]:
        """Its attentions to text: name to module."""
        return {name: module for name, module in denoiser.named_modules() if name.rsplit(".")[-1] == "attn2"}

    @abstractmethod
    def text_length(self, pipeline: Any) -> int:
        """Prompts are padded to so many tokens, or have at most so many."""

    @abstractmethod
    def resolution(self, pipeline: Any) -> int:
        """Pixels of the short side by default."""

    @abstractmethod
    def multiple(self, pipeline: Any) -> int:
        """Sides of pictures are rounded to a multiple of it."""

    def pipeline_arguments(self, prompt: str, height: int, width: int) -> dict[str, Any]:
        """The arguments of the stock pipeline for one picture without guidance."""
        frames = {"num_frames": 1} if self.video else {}
        return {"prompt": prompt, "height": height, "width": width, "guidance_scale": 1.0, **frames}

    def tokens(self, pipeline: Any, prompt: str) -> PromptTokens:
        """The text tokens of a prompt. Raises UserError for one that is too long."""
        return tokenise(self.tokenizer(pipeline), self.prepared_text(pipeline, prompt), self.text_length(pipeline))

    def fits(self, pipeline: Any, prompt: str) -> bool:
        """Whether a prompt is short enough for the text encoder."""
        tokens = self.tokenizer(pipeline)(self.prepared_text(pipeline, prompt)).input_ids
        return len(tokens) <= self.text_length(pipeline)

    def tokenizer(self, pipeline: Any) -> Any:
        """Of the text encoder whose tokens are attended to."""
        return pipeline.tokenizer

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        """The prompt as the pipeline gives it to its tokenizer."""
        return prompt

    def encode(self, pipeline: Any, images: torch.Tensor) -> torch.Tensor:
        """Pictures [B, 3, H, W] in -1..1 (videos [B, 3, F, H, W]) to clean latents, scaled as the pipeline does."""
        return scaled(pipeline.vae.encode(images).latent_dist.mode(), pipeline.vae.config)

    def noised(self, pipeline: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: float) -> torch.Tensor:
        """Latents at a timestep: x_t = (1 - t) x_0 + t e, rectified flow (Liu et al. 2023)."""
        return (1 - timestep) * latents + timestep * noise

    def timestep_input(self, pipeline: Any, timestep: float) -> float:
        """What the denoiser takes as its timestep."""
        return timestep * float(pipeline.scheduler.config.num_train_timesteps)

    def with_image(
        self, denoiser: Any, call: dict[str, Any], latents: torch.Tensor, times: torch.Tensor
    ) -> dict[str, Any]:
        """The pipeline's call with other latents [B, ...] at `timestep_input`s [B]; its text for every row."""
        rows = {name: _expanded(call[name], len(latents)) for name in self.per_row if call.get(name) is not None}
        image = {self.latents_argument: latents, "timestep": times.to(call["timestep"].dtype)}
        return call | rows | image

    def guides_only(self, call: dict[str, Any]) -> bool:
        """Whether a call of the denoiser with the prompt is a weakened one, from which the generation is led away."""
        return False

    def attends(self, denoiser: Any) -> int:
        """How many times each layer attends in a pass; the last time to the text."""
        return 1

    def reads_pictures(self, pipeline: Any) -> bool:
        """Whether the pipeline is read on real pictures; otherwise only while it generates."""
        return True

    def latent_size(self, call: dict[str, Any]) -> tuple[int, int, int]:
        """Frames (1 for pictures), height and width of a call's latents."""
        shape = call[self.latents_argument].shape
        return (shape[-3] if self.video else 1, shape[-2], shape[-1])

    @abstractmethod
    def grid(self, denoiser: Any, call: dict[str, Any], tokens: int) -> Grid:
        """The grid of a layer with so many image tokens."""

    @abstractmethod
    def smallest_latents(self, denoiser: Any) -> torch.Tensor:
        """Zeros [1, ...] of the smallest size that the denoiser takes, for a pass that is run for its text."""


def patched_grid(size: tuple[int, int, int], patch: tuple[int, int, int], tokens: int) -> Grid:
    """The grid of a transformer whose patches have one size in all layers."""
    frames, height, width = (side // p for side, p in zip(size, patch, strict=True))
    grid = Grid(height, width, frames)
    if grid.tokens != tokens:
        raise UserError(f"a cross-attention with {tokens} image tokens; the latents make {grid.tokens}")
    return grid


def scaled(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Latents of an autoencoder as its config says: (x - shift) * scale, or (x - mean) * scale / std per channel."""
    scale = getattr(config, "scaling_factor", None) or 1.0
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return (latents - (getattr(config, "shift_factor", None) or 0.0)) * scale
    shape = (1, -1, *[1] * (latents.ndim - 2))
    mean, std = (torch.as_tensor(x).to(latents).view(shape) for x in (mean, std))
    return (latents - mean) * scale / std


def _expanded(value: Any, rows: int) -> Any:
    """One row repeated for all; a dict of tensors (SDXL's added conditions) likewise."""
    if isinstance(value, dict):
        return {name: _expanded(part, rows) for name, part in value.items()}
    return value.expand(rows, *value.shape[1:]) if isinstance(value, torch.Tensor) and value.ndim else value
