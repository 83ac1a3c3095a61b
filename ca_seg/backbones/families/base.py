"""What differs between families of diffusion transformers. Everything else is shared by all of them.

    latents ──image_inputs──┐
                            ├──► transformer(**inputs) ──► attention of block 0, 1, 2 ...     record
    prompt ──text_inputs────┘
                            ┌── concept_inputs: the same call, one dummy token for the image
                            ├──► transformer(**inputs) ──► attention of block 0, 1, 2 ...     ask
    concepts ─text_inputs───┘

A new family is one file with a subclass of `Family`, and one line in `registry.py`. The contract tests then cover it.
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
from ca_seg.concept.linears import AskLinears

# diffusers' names, in a block that has separate weights for text and image, of the modules for the image
IMAGE_BRANCH = ("norm1", "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out", "attn2", "ff")


@dataclass(frozen=True)
class TextTokens:
    """Prompt or concept embeddings as the transformer takes them."""

    hidden: torch.Tensor  # [B, T, text_dim]
    pooled: torch.Tensor | None = None  # [B, pooled_dim], for families with a pooled text vector
    mask: torch.Tensor | None = None  # bool [B, T], False for padding; None: no padding

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TextTokens:
        """The same text with every tensor changed (repeated, moved ...); None stays None."""
        parts = (self.hidden, self.pooled, self.mask)
        hidden, pooled, mask = (None if part is None else change(part) for part in parts)
        assert hidden is not None
        return TextTokens(hidden, pooled, mask)

    def mask_or_ones(self, dtype: torch.dtype) -> torch.Tensor:
        """The mask as numbers [B, T] of `dtype`; all ones if there is no padding."""
        return torch.ones_like(self.hidden[..., 0], dtype=dtype) if self.mask is None else self.mask.to(dtype)

    def without_padding(self) -> list[torch.Tensor]:
        """The unmasked tokens [T, text_dim] of each row."""
        rows = zip(self.hidden, self.mask_or_ones(torch.bool), strict=True)
        return [tokens[attended] for tokens, attended in rows]


@dataclass(frozen=True)
class EncodedText:
    """One text after a family's text encoders."""

    hidden: torch.Tensor  # [T, text_dim], as the stock pipeline gives it to the transformer
    is_word: torch.Tensor  # bool [T]: the tokens of the text itself; not padding, end token or chat template
    pooled: torch.Tensor | None = None  # [pooled_dim]
    mask: torch.Tensor | None = None  # bool [T]: the tokens that the stock pipeline lets attend; None: all


class SkippedBlock(nn.Module):
    """Takes the position of a block that was not loaded, so that the other blocks keep their numbers."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("this block was not loaded: call load_backbone with a later last_layer")


class Family(ABC):
    """One joint-attention architecture of diffusers."""

    name: ClassVar[str]
    transformer: ClassVar[str]  # the class in diffusers
    pipeline: ClassVar[str]  # the stock pipeline's class in diffusers
    text_first: ClassVar[bool] = True  # the joint sequence is [text, image]; False: [image, text]
    video: ClassVar[bool] = False  # latents have frames: [B, c, f, h, w]
    frames_per_latent: ClassVar[int] = 4  # of a video's frames after the first
    prompt_in_order: ClassVar[bool] = True  # False: the words of a prompt are mixed or moved before the first block
    words_apart: ClassVar[bool] = True  # False: an ask mixes its words before the first block, or gives them positions
    block_lists: ClassVar[tuple[str, ...]] = ("transformer_blocks",)  # of the transformer, in the order of running
    image_branch: ClassVar[tuple[str, ...]] = ()  # modules of blocks of the first list that only the image uses
    image_parts: ClassVar[tuple[str, ...]] = ()  # modules outside the blocks that only the image uses
    modulation: ClassVar[tuple[str, ...]] = ()  # modules outside the blocks whose output depends on the timestep alone
    per_call: ClassVar[tuple[str, ...]] = ("timestep", "guidance")  # arguments that an ask shares with its recording
    guidance_argument: ClassVar[str] = "guidance_scale"  # of the stock pipeline
    prompt_first: ClassVar[bool] = False  # with guidance in one batch: [prompt, negative]; False: [negative, prompt]
    takes_encoded_prompts: ClassVar[bool] = True  # False: the stock pipeline takes texts alone
    noise_at: ClassVar[str] = "flow"  # x_t = (1 - t) x_0 + t e; "scheduler": by the scheduler's own noise table

    def blocks(self, transformer: Any) -> Sequence[nn.Module]:
        """The loaded blocks with a joint attention, in the order in which they run: layer 0, 1, 2 ..."""
        blocks = [block for name in self.block_lists for block in getattr(transformer, name)]
        return [block for block in blocks if not isinstance(block, SkippedBlock)]

    def attention(self, block: nn.Module) -> nn.Module:
        """The module inside a block that holds its joint attention, and no other."""
        attention: nn.Module = block.attn  # type: ignore[assignment]
        return attention

    def attentions(self, transformer: Any) -> list[nn.Module]:
        return [self.attention(block) for block in self.blocks(transformer)]

    def reference_tokens(self, transformer: Any, inputs: dict[str, Any]) -> int:
        """How many tokens of reference pictures follow those of the image in a call of an editing pipeline."""
        return 0

    def ask_linears(self, transformer: Any) -> AskLinears:
        """The linear layers that an ask need not compute."""
        first = [block for block in getattr(transformer, self.block_lists[0]) if not isinstance(block, SkippedBlock)]
        image = [module for block in first for name in self.image_branch if (module := _submodule(block, name))]
        image += [transformer.get_submodule(name) for name in self.image_parts]
        outside = [transformer.get_submodule(name) for name in self.modulation]
        return AskLinears(image, outside, self.blocks(transformer))

    def registers(self, transformer: Any) -> int:
        """How many learned tokens the transformer puts before the text."""
        return 0

    def guidance_input(self, transformer: Any, timesteps: torch.Tensor, guidance: float) -> torch.Tensor | None:
        """The guidance scale [B] for distilled models that take it as an input; None for the others."""
        return torch.full_like(timesteps, guidance) if transformer.config.guidance_embeds else None

    @abstractmethod
    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        """The grid of the image tokens of a call, from the transformer's arguments."""

    @abstractmethod
    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """The arguments for noised latents [B, c, h, w] (frames before h) at timesteps [B] in 0..1."""

    def needs_picture(self, transformer: Any) -> bool:
        """Whether the transformer paints inside a mask of a picture, and generates nothing from text alone."""
        return False

    def with_picture(self, transformer: Any, noised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Noised latents of a real picture, as `image_inputs` takes them; with the clean ones for inpainting models."""
        return noised

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        """The arguments for text. All concepts get the same position, so that their order does not matter."""
        return {"encoder_hidden_states": text.hidden}

    @abstractmethod
    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The image's arguments with zeros that make exactly one image token, for as many rows as `inputs` has."""

    def inputs(
        self, transformer: Any, latents: torch.Tensor, text: TextTokens, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        """All arguments of a call of the transformer."""
        image = self.image_inputs(transformer, latents, timesteps, guidance)
        return self.joined(image, self.text_inputs(transformer, text, concepts=False))

    def joined(self, image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
        """The arguments for an image and those for a text, together; a family may change those that are about both."""
        return image | text

    def concept_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments without text and with one dummy token for the image: the start of an ask."""
        shared = {name: inputs[name] for name in self.per_call if inputs.get(name) is not None}
        return shared | self.dummy_image_inputs(transformer, inputs)

    def asking(self, transformer: Any, grid: Grid) -> AbstractContextManager[None]:
        """A context in which the transformer is asked about a recording of `grid`; families change positions in it."""
        return nullcontext()

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] (videos [B, 3, F, H, W]) in -1..1 to clean latents, scaled as the pipeline does."""
        config = autoencoder.config
        latents = autoencoder.encode(images).latent_dist.mode()
        return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor

    @abstractmethod
    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """Texts through the encoders of the stock pipeline (which holds no transformer), padded to `length` tokens."""

    def loop_latents(self, transformer: Any, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, c, h, w] in the form in which the stock pipeline's loop has them, and hands them to callbacks."""
        tensor: torch.Tensor = self.image_inputs(transformer, latents, latents.new_zeros(len(latents)), 0.0)[
            "hidden_states"
        ]
        return tensor

    def placeholders(self) -> dict[str, Any]:
        """Parts that the stock pipeline cannot be made without, for where they are not loaded."""
        return {}

    def guided(self, pipeline: Any, guidance: float) -> dict[str, Any]:
        """The stock pipeline's arguments for a guidance scale; 0 is none."""
        return {self.guidance_argument: guidance}

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        """The stock pipeline's arguments for a prompt that is already encoded.

        Args:
            text: the prompt
            negative: the prompt that guidance leads away from; without it, a pipeline that needs one gets zeros
        """
        hidden = torch.zeros_like(text.hidden) if negative is None else negative.hidden
        return {"prompt_embeds": text.hidden, "negative_prompt_embeds": hidden}


def _submodule(block: nn.Module, name: str) -> nn.Module | None:
    """The module called `name` in a block; None in a block without it."""
    module: Any = block
    for part in name.split("."):
        module = getattr(module, part, None)
    return module
