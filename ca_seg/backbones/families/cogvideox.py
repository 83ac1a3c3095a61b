"""CogVideoX: one transformer stream for text and video, text first; an image is a video of one frame.

latents [B, 16, f, 2h, 2w] --the transformer's own 2x2 patches of each frame--> tokens, frame by frame

2b adds one fixed table of places to text and video together (zero for text); 5b turns the video's queries and keys.
Noise is not a straight line: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, by the scheduler's table of a_t.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.text.tokens import own_tokens
from ca_seg.concept.grid import Grid

TABLES = ("use_positional_embeddings", "use_learned_positional_embeddings")


class CogVideoX(Family):
    """diffusers' `CogVideoXTransformer3DModel`: CogVideoX-2b and CogVideoX-5b (text to video)."""

    name = "cogvideox"
    transformer = "CogVideoXTransformer3DModel"
    pipeline = "CogVideoXPipeline"
    video = True
    noise_at = "scheduler"
    per_call = ("timestep", "attention_kwargs")
    small = SmallModel(
        config={
            "num_attention_heads": 4,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 4,
            "time_embed_dim": 16,
            "text_embed_dim": 24,
            "num_layers": 3,
            "sample_width": 12,
            "sample_height": 8,
            "sample_frames": 9,
            "max_text_seq_length": 7,
            "use_rotary_positional_embeddings": True,
        },
        text=24,
        pooled=None,
        latents=(4, 2, 6, 10),
        grid=Grid(3, 5, frames=2),
    )

    def attention(self, block: nn.Module) -> nn.Module:
        return block.attn1  # type: ignore[return-value]

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        frames, _, height, width = inputs["hidden_states"].shape[1:]
        patch = transformer.config.patch_size
        return Grid(height // patch, width // patch, frames=frames)

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        inputs = {
            "hidden_states": latents.transpose(1, 2),
            "timestep": (1000 * timesteps).round().long().clamp(max=999),
        }
        turns = None
        if transformer.config.use_rotary_positional_embeddings:
            turns = _turns(transformer, self.grid(transformer, inputs), latents.device)
        return inputs | {"image_rotary_emb": turns}

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        return {"encoder_hidden_states": text.hidden}

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        patch, turns = transformer.config.patch_size, inputs.get("image_rotary_emb")
        return {
            "hidden_states": torch.zeros_like(inputs["hidden_states"][:, :1, :, :patch, :patch]),
            "image_rotary_emb": None if turns is None else tuple(table[:1] for table in turns),
        }

    @contextmanager
    def asking(self, transformer: nn.Module, grid: Grid) -> Iterator[None]:
        """Without the table of places, which is zero for text, and has a fixed number of text rows."""
        embed = transformer.patch_embed
        before = {name: getattr(embed, name) for name in TABLES}
        try:
            for name in TABLES:
                setattr(embed, name, False)
            yield
        finally:
            for name, value in before.items():
                setattr(embed, name, value)

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        own = own_tokens(pipeline.tokenizer, texts, length)
        hidden, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, max_sequence_length=length)
        return [EncodedText(*parts) for parts in zip(hidden, own, strict=True)]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        return {"prompt_embeds": text.hidden, "negative_prompt_embeds": torch.zeros_like(text.hidden)}


def _turns(transformer: nn.Module, grid: Grid, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rotary tables of 5b, as its pipeline makes them: places stretched onto the size that it was trained at."""
    config = transformer.config
    base = (config.sample_width // config.patch_size, config.sample_height // config.patch_size)
    crop = get_resize_crop_region_for_grid((grid.height, grid.width), *base)
    return get_3d_rotary_pos_embed(
        config.attention_head_dim, crop, (grid.height, grid.width), grid.frames, device=device
    )
