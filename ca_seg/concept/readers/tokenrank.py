"""Attention as a Markov chain (Erel et al., NeurIPS 2025, arXiv 2507.17657): attention is applied twice.

    concept ──attention──► image tokens ──self-attention──► image tokens
              first bounce                  second bounce

Row c of the first is where concept c attends; after the second bounce it is where those tokens attend. Heads are
weighted by lambda_2, the second largest magnitude of an eigenvalue of their self-attention: a chain with a large one
mixes slowly, so its head keeps regions apart. The chain lives on image tokens: prompt and concepts are left out.
"""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import TINY, class_shares, concept_attention, self_attention

BOUNCES = 2
ITERATIONS = 60  # of the power method; the last half is averaged


def tokenrank(features: ConceptFeatures, *, bounces: int = BOUNCES, weigh_heads: bool = True) -> torch.Tensor:
    """Class maps [B, K, h, w]: the share of each class in the chain's mass at an image token.

    Args:
        features: of a recording with queries
        bounces: how often attention is applied, 1 or more; 1 is the concepts' own attention
        weigh_heads: by lambda_2; otherwise their mean
    """
    total: torch.Tensor | None = None
    for layer in features.layers:
        image = features.image[layer]
        mass, chain = concept_attention(image, features.concept[layer]), self_attention(image)
        for _ in range(bounces - 1):
            mass = mass @ chain
        if weigh_heads:
            weights = second_eigenvalue(chain)
            weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(TINY)
            scores = (mass * weights[..., None, None]).sum(dim=1)
        else:
            scores = mass.mean(dim=1)
        total = scores if total is None else total + scores
    assert total is not None
    return class_shares(features, total)


def second_eigenvalue(chain: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """The second largest magnitude of an eigenvalue of row-stochastic matrices [..., N, N], by the power method.

    The largest is 1, with the right eigenvector 1. Vectors whose entries sum to 0 stay so under `x -> x A`, and on them
    the largest eigenvalue is the second. The growth of the vector's length, averaged over the last steps, is its
    magnitude, also where it is complex.

    Returns:
        [...], 0 to 1
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(chain.shape[-1], generator=generator).to(chain)
    x = (start - start.mean()).expand(*chain.shape[:-2], 1, -1)
    growth: list[torch.Tensor] = []
    for _ in range(iterations):
        x = x / x.norm(dim=-1, keepdim=True).clamp_min(TINY)
        x = x @ chain
        x = x - x.mean(dim=-1, keepdim=True)  # rounding brings the first eigenvector back
        growth.append(x.norm(dim=-1)[..., 0])
    last = torch.stack(growth[iterations // 2 :]).clamp_min(TINY)
    return last.log().mean(dim=0).exp().clamp(max=1.0)
