"""The idea of AnchorDiff (arXiv 2605.26460): one anchor token per concept, spread over a graph of the image.

    anchor   the token that a concept attends to most
    graph    cosine of attention outputs, 0 or more, times a gate: self-attention, each row divided by its largest value
    spread   s <- (1 - r) s P + r e     P: the graph, rows sum to 1; e: 1 at the anchor; r: chance of a restart

No code was found, and the steps and the restart are ours. An anchor is one token, so a second instance of a class gets
mass only over paths of the graph that join the two. A limit that the paper states.
"""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import TINY, class_shares, concept_attention, self_attention
from ca_seg.concept.record import Stream

RESTART = 0.1
STEPS = 20


def anchordiff(features: ConceptFeatures) -> torch.Tensor:
    """Class maps [B, K, h, w] of a recording with queries: shares of the spread mass, each map with a maximum of 1."""
    total: torch.Tensor | None = None
    for layer in features.layers:
        image = features.image[layer]
        attention = concept_attention(image, features.concept[layer]).mean(dim=1)
        seed = torch.zeros_like(attention).scatter_(2, attention.argmax(dim=2, keepdim=True), 1.0)
        mass = spread(seed, similarity_graph(image))
        scores = mass / mass.amax(dim=2, keepdim=True).clamp_min(TINY)
        total = scores if total is None else total + scores
    assert total is not None
    return class_shares(features, total)


def similarity_graph(image: Stream) -> torch.Tensor:
    """[B, N, N], 0 or more, rows sum to 1."""
    output = torch.nn.functional.normalize(image.part("output").float().transpose(1, 2).flatten(2), dim=2)
    gate = self_attention(image).mean(dim=1)
    graph = (output @ output.transpose(1, 2)).clamp_min(0) * gate / gate.amax(dim=2, keepdim=True)
    return graph / graph.sum(dim=2, keepdim=True).clamp_min(TINY)


def spread(seed: torch.Tensor, graph: torch.Tensor, *, restart: float = RESTART, steps: int = STEPS) -> torch.Tensor:
    """Seeds [B, C, N] after some steps of a walk on the graph [B, N, N] that may restart at the seed."""
    mass = seed
    for _ in range(steps):
        mass = (1 - restart) * mass @ graph + restart * seed
    return mass
