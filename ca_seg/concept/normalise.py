"""How concept and image vectors are scaled before their product, against the very large activations of a few channels.

    none       not normalised, as in the paper
    token      every vector to length 1, so that the product is a cosine
    channel    every channel divided by its root mean square over the image's tokens, concepts by the same number
    concepts   concepts only: in every channel the lowest value of any concept is subtracted, and the sum is made 1
    discard    channels with massive activations are set to 0

`concepts` is `linear_normalization` of the ConceptAttention reference code, which the paper does not mention. Channels
with massive activations are those of Sun et al. (COLM 2024): at some token larger than `MASSIVE` times the median of
all magnitudes; Gan et al. (DiTF, NeurIPS 2025, arXiv 2505.18584) set them to 0 in diffusion transformers.
"""

from __future__ import annotations

import torch

from ca_seg.concept.choices import NORMALISE
from ca_seg.errors import UnknownName

MASSIVE = 100.0  # times the median magnitude of the image's vectors


def normalised(image: torch.Tensor, concept: torch.Tensor, how: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Image [B, heads, N, d] and concept [B, heads, C, d] vectors, scaled. Raises UnknownName."""
    if how == "none":
        return image, concept
    if how == "token":
        image, concept = (x / x.square().sum(dim=(1, 3), keepdim=True).sqrt().clamp_min(1e-6) for x in (image, concept))
        return image, concept
    if how == "channel":
        size = channel_rms(image, dim=2)
        return image / size, concept / size
    if how == "concepts":
        return image, linear_normalisation(concept)
    if how == "discard":
        kept = ~massive_channels(image)
        return image * kept, concept * kept
    raise UnknownName("normalisation", how, NORMALISE)


def linear_normalisation(concept: torch.Tensor) -> torch.Tensor:
    """[B, heads, C, d]: in every channel minus the least of the C concepts, then divided by their sum (if not 0)."""
    shifted = concept - concept.amin(dim=2, keepdim=True)
    total = shifted.sum(dim=2, keepdim=True)
    return shifted / torch.where(total == 0, 1.0, total)


def massive_channels(image: torch.Tensor) -> torch.Tensor:
    """Where a channel is massive: bool [B, heads, 1, d] for vectors [B, heads, N, d]."""
    magnitude = image.abs()
    median = magnitude.flatten(1).median(dim=1).values[:, None, None, None]
    return magnitude.amax(dim=2, keepdim=True) > MASSIVE * median


def channel_rms(vectors: torch.Tensor, dim: int | tuple[int, ...]) -> torch.Tensor:
    """Root mean square of each channel over the image's tokens, which lie along `dim`; never 0, to divide by."""
    return vectors.square().mean(dim=dim, keepdim=True).sqrt().clamp_min(1e-6)
