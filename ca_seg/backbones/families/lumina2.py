"""Lumina-Image 2.0 (Qin et al., 2025, arXiv:2503.21758): one transformer stream for text and image, text first.

latents [B, 16, 2h, 2w] --the transformer's own 2x2 patches--> tokens      joint sequence: [text, image]

Text token i is at position i on the first axis, the image right after the text. All concepts are at position 0. Padding
of a prompt is cut off before the joint blocks.

Image and text first pass separate blocks (refiners). Concepts go through those of the text together, as a prompt's
tokens do: the map of a concept depends on which other concepts are asked with it, but not on their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, TextTokens
from ca_seg.backbones.families.patched_latents import PatchedLatents
from ca_seg.backbones.text.template_tokens import words_in_template
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError


class Lumina2(PatchedLatents):
    """diffusers' `Lumina2Transformer2DModel`: Lumina-Image 2.0 and finetunes."""

    name = "lumina2"
    transformer = "Lumina2Transformer2DModel"
    pipeline = "Lumina2Pipeline"
    prompt_in_order = False
    words_apart = False
    block_lists = ("layers",)
    image_parts = ("x_embedder", "noise_refiner")
    per_call = ("timestep", "attention_kwargs")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        mask = inputs.get("encoder_attention_mask")
        if mask is not None and len(set(mask.sum(dim=1).tolist())) > 1:
            raise UserError(
                "prompts of different lengths in one pass: each row's image is at another place of the sequence",
                fix="record the images, or generate them, one by one",
            )
        return super().grid(transformer, inputs)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": 1 - timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "encoder_attention_mask": text.mask_or_ones(torch.long)}

    @contextmanager
    def asking(self, transformer: Any, grid: Grid) -> Iterator[None]:
        """Every concept at the first position of a prompt, in this thread only."""
        thread = get_ident()

        def same_text_position(embedder: nn.Module, args: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
            if get_ident() != thread:
                return output
            tokens, text, image, joint, lengths, *others = output  # text, image and joint: rotations of their tokens
            first, concepts = text[:, :1], lengths[0]
            joint = torch.cat([first.expand(-1, concepts, -1), joint[:, concepts:]], dim=1)
            return (tokens, first.expand_as(text), image, joint, lengths, *others)

        hook = transformer.rope_embedder.register_forward_hook(same_text_position)
        try:
            yield
        finally:
            hook.remove()

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """The system prompt attends too; padding is masked."""
        template = pipeline.system_prompt + " <Prompt Start> {}"
        rows = words_in_template(pipeline.tokenizer, template, texts, 0, length)
        hidden, mask, *_ = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, max_sequence_length=length
        )
        return [EncodedText(h, row, mask=m.bool()) for h, row, m in zip(hidden, rows, mask, strict=True)]

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        mask = text.mask_or_ones(torch.long)
        return super().prompt_arguments(text, negative) | {
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask if negative is None else negative.mask_or_ones(mask.dtype),
        }
