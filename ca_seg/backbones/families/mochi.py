"""Mochi 1 (Genmo, 2024; weights and code, no paper): double-stream blocks with a narrow text stream, video first.

An image is a video of one frame.

latents [B, 12, f, 2h, 2w] --the transformer's own 2x2 patches of each frame--> tokens     joint sequence: [video, text]

Text has no positions. The transformer pools the words of a text to one vector, which changes every block. An ask takes
the vector of the recorded image's prompt, so a concept's map does not depend on the words that are asked with it. The
timestep is reversed: 0 is noise, 1000 the clean video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, TextTokens
from ca_seg.backbones.text.tokens import word_tokens
from ca_seg.concept.grid import Grid

POOLED = "pooled_prompt"  # in the arguments of an ask: the pooled text of the recorded image's prompt


class Mochi(Family):
    """diffusers' `MochiTransformer3DModel`: Mochi 1 preview (text to video)."""

    name = "mochi"
    transformer = "MochiTransformer3DModel"
    pipeline = "MochiPipeline"
    text_first = False
    video = True
    frames_per_latent = 6
    words_apart = False  # the images of a batch have different prompts, and an ask depends on the prompt's vector
    image_branch = ("norm1", "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out", "ff")
    image_parts = ("time_embed.pooler",)
    modulation = ("time_embed.timestep_embedder",)
    per_call = ("timestep", "attention_kwargs", POOLED)

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attn1  # type: ignore[return-value]

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        frames, height, width = inputs["hidden_states"].shape[2:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": 1000 * (1 - timesteps)}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden, "encoder_attention_mask": text.mask_or_ones(torch.bool)}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        patch = transformer.config.patch_size
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][:, :, :1, :patch, :patch])}

    def concept_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        text, mask = inputs["encoder_hidden_states"], inputs["encoder_attention_mask"]
        return super().concept_inputs(transformer, inputs) | {POOLED: transformer.time_embed.pooler(text, mask)}

    @contextmanager
    def asking(self, transformer: Any, grid: Grid) -> Iterator[None]:
        """With the pooled vector of the prompt instead of one of the concepts, in this thread only."""
        thread, vectors = get_ident(), dict[str, torch.Tensor]()

        def take(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            if get_ident() != thread or POOLED not in kwargs:
                return None
            vectors[POOLED] = kwargs[POOLED]
            return args, {name: value for name, value in kwargs.items() if name != POOLED}

        def give(pooler: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            return vectors.get(POOLED, output) if get_ident() == thread else output

        hooks = [
            transformer.register_forward_pre_hook(take, with_kwargs=True, prepend=True),
            transformer.time_embed.pooler.register_forward_hook(give),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        """Each channel with the mean 0 and the deviation 1 that the autoencoder's config states."""
        config = autoencoder.config
        code = autoencoder.encode(images).latent_dist.mode()
        mean, std = (code.new_tensor(x).view(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std))
        latents: torch.Tensor = (code - mean) / std * config.scaling_factor
        return latents

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """One by one: a pipeline that zeroes empty prompts zeroes the whole batch with the last one."""
        encoded = []
        for text, is_word in zip(texts, word_tokens(pipeline.tokenizer, texts, length), strict=True):
            hidden, mask, *_ = pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=length
            )
            encoded.append(EncodedText(hidden[0], is_word, mask=mask[0].bool()))
        return encoded

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        mask = text.mask_or_ones(torch.bool)
        return super().prompt_arguments(text, negative) | {
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask if negative is None else negative.mask_or_ones(torch.bool),
        }
