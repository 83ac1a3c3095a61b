"""The architecture of the backbones for photographs: a small FLUX.1 whose tokens are 432 encoder features.

320 x 320 pixels -> 20 x 20 tokens of 432 channels -> 4 double blocks of width 256 -> 1 single block
"""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel

from recipes.mini.model import open_gates

ARCHITECTURE = {
    "patch_size": 1,
    "in_channels": 432,
    "num_layers": 4,
    "num_single_layers": 1,
    "attention_head_dim": 64,
    "num_attention_heads": 4,
    "joint_attention_dim": 384,
    "pooled_projection_dim": 384,
    "guidance_embeds": False,
    "axes_dims_rope": (8, 28, 28),
}
LAYER_WEIGHTS = {1: 0.25, 2: 0.5, 3: 1.0}  # of the map losses
READ_LAYERS = (2, 3)


def fresh_transformer(seed: int, heads: int = 4) -> FluxTransformer2DModel:
    """A transformer with open gates, as `mini` (see recipes/mini/model.py). Each attention head has 64 channels."""
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(**ARCHITECTURE | {"num_attention_heads": heads})
    open_gates(transformer)
    return transformer
