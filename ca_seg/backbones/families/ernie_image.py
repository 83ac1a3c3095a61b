"""ERNIE-Image (Baidu, 2026; weights and code, no paper): one transformer stream for text and image, image first.

latents [B, 128, h, w], 2x2 of the autoencoder's 32 channels each, standardised --> tokens
joint sequence: [image, text, its padding]

Text token i is at position i on the first axis, the image right after the text. All concepts are at position 0, so that
their order does not matter.
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
from ca_seg.backbones.text.tokens import check_length, word_indices

VARIANCE_OFFSET = 1e-5  # as the stock pipeline decodes, whatever the autoencoder's config says


class ErnieImage(PatchedLatents):
    """diffusers' `ErnieImageTransformer2DModel`: ERNIE-Image and ERNIE-Image-Turbo, without their prompt enhancer."""

    name = "ernie-image"
    transformer = "ErnieImageTransformer2DModel"
    pipeline = "ErnieImagePipeline"
    text_first = False
    block_lists = ("layers",)
    modulation = ("adaLN_modulation",)
    per_call = ("timestep",)

    def attention(self, block: nn.Module) -> nn.Module:
        return block.self_attention  # type: ignore[return-value]

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        return {"hidden_states": latents, "timestep": 1000 * timesteps}

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"text_bth": text.hidden, "text_lens": text.mask_or_ones(torch.long).sum(dim=1)}

    @contextmanager
    def asking(self, transformer: Any, grid: Any) -> Iterator[None]:
        """Every concept at the first position of a prompt, in this thread only."""
        thread = get_ident()

        def same_text_position(pos_embed: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
            if get_ident() != thread:
                return None
            positions = args[0]  # [B, image and text, 3]; on the first axis the image comes after the text
            is_text = positions[..., :1] < positions[:, :1, :1]
            return (positions.masked_fill(is_text, 0.0),)

        hook = transformer.pos_embed.register_forward_pre_hook(same_text_position)
        try:
            yield
        finally:
            hook.remove()

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        latents = torch.nn.functional.pixel_unshuffle(autoencoder.encode(images).latent_dist.mode(), 2)
        mean, variance = autoencoder.bn.running_mean, autoencoder.bn.running_var
        mean, variance = (x.view(1, -1, 1, 1).to(latents) for x in (mean, variance))
        return (latents - mean) / (variance + VARIANCE_OFFSET).sqrt()

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """Without padding, as in the stock pipeline."""
        encoded = []
        for text in texts:
            ids = list(pipeline.tokenizer(text, add_special_tokens=True)["input_ids"])
            check_length(text, len(ids), length)
            [hidden] = pipeline.encode_prompt(text, device=pipeline.text_encoder.device)
            is_word = torch.zeros(len(hidden), dtype=torch.bool)
            is_word[word_indices(pipeline.tokenizer, ids) or [0]] = True
            encoded.append(EncodedText(hidden, is_word))
        return encoded

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        rows = text.without_padding()
        away = [torch.zeros_like(tokens) for tokens in rows] if negative is None else negative.without_padding()
        return {"prompt_embeds": rows, "negative_prompt_embeds": away}
