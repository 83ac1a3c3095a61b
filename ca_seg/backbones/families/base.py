"""What a family of diffusion transformers has to say about itself. Everything else is the same for all families.

    latents ──image_inputs──┐
                            ├──► transformer(**inputs) ──► attention of block 0, 1, 2 ...     record
    prompt ──text_inputs────┘
                            ┌── cut: the same call, one dummy token for the image
                            ├──► transformer(**inputs) ──► attention of block 0, 1, 2 ...     ask
    concepts ─text_inputs───┘

A new family is one file with a subclass of `Family`, and one line in `registry.py`; the contract tests take it from
there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ca_seg.concept.grid import Grid


@dataclass(frozen=True)
class TextTokens:
    """Prompt or concept embeddings as the transformer takes them."""

    hidden: torch.Tensor  # [B, T, text_dim]
    pooled: torch.Tensor | None = None  # [B, pooled_dim], for families with a pooled text vector
    mask: torch.Tensor | None = None  # bool [B, T], False for padding; None: no padding

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TextTokens:
        """Every tensor changed (repeated, moved ...), with None left alone."""
        parts = (self.hidden, self.pooled, self.mask)
        hidden, pooled, mask = (None if part is None else change(part) for part in parts)
        assert hidden is not None
        return TextTokens(hidden, pooled, mask)


@dataclass(frozen=True)
class EncodedText:
    """One text through a family's own text encoders."""

    hidden: torch.Tensor  # [T, text_dim], as the stock pipeline gives it to the transformer
    own: torch.Tensor  # bool [T]: the tokens of the text itself; no padding, end token or chat template
    pooled: torch.Tensor | None = None  # [pooled_dim]
    mask: torch.Tensor | None = None  # bool [T]: the tokens that the stock pipeline lets attend; None: all


@dataclass(frozen=True)
class SmallModel:
    """A small model of a family's exact class, on which the contract tests stand."""

    config: dict[str, Any]  # constructor arguments; three or more layers
    text: int  # width of text embeddings
    pooled: int | None  # width of the pooled text vector, for families that have one
    latents: tuple[int, ...]  # channels, (frames,) height, width of the autoencoder's latents
    grid: Grid  # that these latents make; not square


class SkippedBlock(nn.Module):
    """Stands for a block that was not loaded, so that the others keep their numbers."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("this block was not loaded: load_backbone was told an earlier last_layer")


class Family(ABC):
    """One joint-attention architecture of diffusers."""

    name: ClassVar[str]
    transformer: ClassVar[str]  # the class in diffusers
    pipeline: ClassVar[str]  # the stock pipeline's class in diffusers
    text_first: ClassVar[bool] = True  # the joint sequence is [text, image]; False: [image, text]
    video: ClassVar[bool] = False  # latents have frames: [B, c, f, h, w]
    block_lists: ClassVar[tuple[str, ...]] = ("transformer_blocks",)  # of the transformer, in the order of running
    small: ClassVar[SmallModel]
    per_call: ClassVar[tuple[str, ...]] = ("timestep", "guidance")  # arguments that an ask shares with its recording
    guidance_argument: ClassVar[str] = "guidance_scale"  # of the stock pipeline
    prompt_first: ClassVar[bool] = False  # with guidance in one batch: [prompt, negative]; False: [negative, prompt]
    noise_at: ClassVar[str] = "flow"  # x_t = (1 - t) x_0 + t e; "scheduler": by the scheduler's own noise table

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        """The loaded blocks with a joint attention, in the order in which they run: layer 0, 1, 2 ..."""
        every = [block for name in self.block_lists for block in getattr(transformer, name)]
        return [block for block in every if not isinstance(block, SkippedBlock)]

    def attention(self, block: nn.Module) -> nn.Module:
        """The module inside a block that holds its joint attention, and no other."""
        attention: nn.Module = block.attn  # type: ignore[assignment]
        return attention

    def attentions(self, transformer: nn.Module) -> list[nn.Module]:
        return [self.attention(block) for block in self.blocks(transformer)]

    def registers(self, transformer: nn.Module) -> int:
        """How many learned tokens the transformer puts before the text."""
        return 0

    @abstractmethod
    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        """How the image tokens of a call lie, from the transformer's arguments."""

    @abstractmethod
    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The arguments for noised latents [B, c, h, w] (frames before h) at timesteps [B] in 0..1."""

    @abstractmethod
    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        """The arguments for text. Concepts stand side by side at one place, so that their order means nothing."""

    @abstractmethod
    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """The image's arguments with zeros that make exactly one image token, for as many rows as `inputs` has."""

    def inputs(
        self, transformer: nn.Module, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """A whole call."""
        image = self.image_inputs(transformer, latents, timesteps, guidance)
        return image | self.text_inputs(transformer, text, concepts=False)

    def concept_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments without text, one dummy token for the image: what an ask starts from."""
        shared = {name: inputs[name] for name in self.per_call if inputs.get(name) is not None}
        return shared | self.dummy_image_inputs(transformer, inputs)

    def asking(self, transformer: nn.Module, grid: Grid) -> AbstractContextManager[None]:
        """What has to hold in the transformer while it is asked about a recording of `grid`."""
        return nullcontext()

    def encode(self, autoencoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] (videos [B, 3, F, H, W]) in -1..1 to clean latents, scaled as the pipeline does."""
        config = autoencoder.config
        latents = autoencoder.encode(images).latent_dist.mode()
        return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor

    @abstractmethod
    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """Texts through the encoders of the stock pipeline (which holds no transformer), padded to `length` tokens."""

    @abstractmethod
    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        """The stock pipeline's own arguments for a prompt that is encoded already."""
