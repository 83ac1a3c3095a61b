"""The architecture of the shipped backbones, and their initialisation.

A small FLUX.1: 128 x 128 pixels, 4 x 4 pixel latents packed 2 x 2, so 16 x 16 tokens of 8 x 8 pixels.
"""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel
from torch import nn

ARCHITECTURE = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 4,
    "num_single_layers": 2,
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "joint_attention_dim": 384,
    "pooled_projection_dim": 384,
    "guidance_embeds": False,
    "axes_dims_rope": (8, 28, 28),
}


def fresh_transformer(seed: int) -> FluxTransformer2DModel:
    """A transformer whose blocks are initialised as plain pre-norm blocks: no shift, no scale, every gate at 1.

    The initialisation of diffusers sets the gates near zero with random signs. A small model then loses its first
    thousands of steps.
    """
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(**ARCHITECTURE)
    open_gates(transformer)
    return transformer


def open_gates(transformer: FluxTransformer2DModel) -> None:
    """Set every block's modulation to no shift, no scale and gates of 1, and the last layer to zero."""
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            _open(norm.linear, chunks=6, gates=(2, 5))
    for block in transformer.single_transformer_blocks:
        _open(block.norm.linear, chunks=3, gates=(2,))
    for linear in (transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)


def _open(modulation: nn.Linear, *, chunks: int, gates: tuple[int, ...]) -> None:
    nn.init.zeros_(modulation.weight)
    nn.init.zeros_(modulation.bias)
    with torch.no_grad():
        for gate in gates:
            modulation.bias.chunk(chunks)[gate].fill_(1.0)
