"""CogVideoX (Yang et al., 2024, arXiv:2408.06072): one transformer stream for text and video, text first.

An image is a video of one frame.

latents [B, 16, f, 2h, 2w] --the transformer's own 2x2 patches of each frame--> tokens, frame by frame

2b adds one fixed table of positions to text and video together (zero for text). 5b rotates the video's queries and
keys. Noise is not added on a straight line: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, with the scheduler's table
of a_t.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family
from ca_seg.backbones.text.tokens import word_tokens
from ca_seg.concept.grid import Grid

POSITION_TABLES = ("use_positional_embeddings", "use_learned_positional_embeddings")


class CogVideoX(Family):
    """diffusers' `CogVideoXTransformer3DModel`: CogVideoX-2b and CogVideoX-5b (text to video)."""

    name = "cogvideox"
    transformer = "CogVideoXTransformer3DModel"
    pipeline = "CogVideoXPipeline"
    video = True
    noise_at = "scheduler"
    per_call = ("timestep", "attention_kwargs")

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attn1  # type: ignore[return-value]

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        frames, _, height, width = inputs["hidden_states"].shape[1:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        inputs = {
            "hidden_states": latents.transpose(1, 2),
            "timestep": (1000 * timesteps).round().long().clamp(max=999),
        }
        rotary = None
        if transformer.config.use_rotary_positional_embeddings:
            rotary = _rotary_tables(transformer, self.grid(transformer, inputs), latents.device)
        return inputs | {"image_rotary_emb": rotary}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        patch, rotary = transformer.config.patch_size, inputs.get("image_rotary_emb")
        return {
            "hidden_states": torch.zeros_like(inputs["hidden_states"][:, :1, :, :patch, :patch]),
            "image_rotary_emb": None if rotary is None else tuple(table[:1] for table in rotary),
        }

    @contextmanager
    def asking(self, transformer: Any, grid: Grid) -> Iterator[None]:
        """Without the table of positions: it is zero for text, and has a fixed number of text rows."""
        embed = transformer.patch_embed
        before = {name: getattr(embed, name) for name in POSITION_TABLES}
        try:
            for name in POSITION_TABLES:
                setattr(embed, name, False)
            yield
        finally:
            for name, value in before.items():
                setattr(embed, name, value)

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        is_word = word_tokens(pipeline.tokenizer, texts, length)
        hidden, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, is_word, strict=True)]


def _rotary_tables(transformer: Any, grid: Grid, device: torch.device) -> Any:
    """The rotary tables of 5b, as its pipeline makes them: positions are scaled to the size of its training."""
    config = transformer.config
    base = (config.sample_width // config.patch_size, config.sample_height // config.patch_size)
    crop = get_resize_crop_region_for_grid((grid.height, grid.width), *base)
    return get_3d_rotary_pos_embed(
        config.attention_head_dim, crop, (grid.height, grid.width), grid.frames, device=device
    )
