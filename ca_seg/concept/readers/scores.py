"""Scores of image tokens to class maps, and the image's self-attention: what several readers share."""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.record import Stream
from ca_seg.errors import UserError

TINY = 1e-12  # to divide by, where all is 0


def class_shares(features: ConceptFeatures, scores: torch.Tensor) -> torch.Tensor:
    """Scores of phrases, 0 or more, to class maps that sum to 1 over the classes; the mean over noised copies.

    Args:
        features: with C phrases, N image tokens
        scores: [copies * B, C, N]

    Returns:
        [B, K, h, w] (frames before h for a video)
    """
    pooled = features.vocabulary.pool(scores[..., None], dim=1)[..., 0]
    shares = pooled / pooled.sum(dim=1, keepdim=True).clamp_min(TINY)
    return features.grid.unflatten(shares).unflatten(0, (features.noised_copies, -1)).mean(dim=0)


def image_query(stream: Stream) -> torch.Tensor:
    """The queries of the image [B, heads, N, d]. Raises UserError for a recording without them."""
    if stream.query is None:
        raise UserError("the recording has no image queries", fix="record(..., queries=True)")
    return stream.query.float()


def self_attention(stream: Stream) -> torch.Tensor:
    """Softmaxed attention of image tokens to each other, without the prompt: [B, heads, N, N], rows sum to 1."""
    query = image_query(stream)
    return (query @ stream.part("key").float().transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)


def concept_attention(image: Stream, concept: Stream) -> torch.Tensor:
    """Softmaxed attention of concepts to image tokens: [B, heads, C, N], rows sum to 1."""
    query = concept.part("query").float()
    return (query @ image.part("key").float().transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
