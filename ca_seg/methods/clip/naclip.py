"""NACLIP: in CLIP's last block a patch attends to keys that are like its own, and more to those that are near.

    attention = softmax(KKᵀ / √d + ω)      ω(i, j) = exp(-|i - j|² / 2σ²), σ = 5 patches; 0 for the class token

(Hajimiri et al. 2024, section 3.3.) The last block's skip connection and feed-forward part are left out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.clip.encoders import VIT_B_16, open_encoders
from ca_seg.methods.clip.patches import RESOLUTION, SCALE, PatchPredictor, grid_size, patch_features
from ca_seg.methods.inputs import MethodInputs

DEVIATION = 5.0  # patches

CARD = MethodCard(
    name="naclip",
    summary="CLIP whose last block attends by key-key similarity and nearness; the cosine of patch and words.",
    paper="Hajimiri et al. 2024, Pay Attention to Your Neighbours (arXiv 2404.08181)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_B_16,),
    options=("tokenizer", "resolution", "templates"),
)


def nearness(height: int, width: int) -> Tensor:
    """ω [N, N] of a grid of N = height * width patches, row by row."""
    points = torch.cartesian_prod(torch.arange(height).float(), torch.arange(width).float())
    return torch.exp(-(torch.cdist(points, points) ** 2) / (2 * DEVIATION**2))


def attend_to_neighbours(query: Tensor, key: Tensor, value: Tensor, *, grid: tuple[int, int]) -> Tensor:
    """Outputs of the patches [B, heads, N, d] on a grid [h, w]."""
    logits = key[:, :, 1:] @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
    logits[..., 1:] += nearness(*grid).to(logits)
    return logits.softmax(dim=-1) @ value


def open_predictor(inputs: MethodInputs) -> PatchPredictor:
    """On the model that is given, or ViT-B/16."""
    clip = open_encoders(inputs, CARD, VIT_B_16)

    def features(images: Tensor) -> Tensor:
        attend = partial(attend_to_neighbours, grid=grid_size(images, clip.patch))
        return patch_features(clip, images, attend, residual=False)

    resolution = inputs.resolution or round(clip.image_size * RESOLUTION)
    return PatchPredictor(CARD.name, clip, features, resolution, window=clip.image_size, scale=SCALE)
