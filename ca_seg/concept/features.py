"""From concept and image vectors to maps.

A map is the product of a concept's vector with each image token's vector, heads joined (paper, section 4.2). Three
spaces are offered, as in the paper's ablation:

    output            <concept attention output, image attention output>       the paper's choice
    value             <concept value, image value>
    cross-attention   <concept query, image key> / sqrt(head_dim), mean over heads, before any softmax
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ca_seg.concept.grid import Grid
from ca_seg.concept.record import Stream
from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.vocabulary import Vocabulary

SPACES = ("output", "cross-attention", "value")


@dataclass(frozen=True)
class ConceptFeatures:
    """Image and concept vectors of every recorded layer, for B pictures seen `draws` times each.

    A draw is one (timestep, noise sample). Streams are [draws * B, heads, tokens, head_dim], draw by draw.
    """

    vocabulary: Vocabulary
    grid: Grid
    draws: int
    layers: tuple[int, ...]  # the layers that `maps` reads unless told otherwise
    image: tuple[Stream, ...]  # N tokens each
    concept: tuple[Stream, ...]  # C tokens each

    def scores(self, layer: int, *, space: str = "output") -> torch.Tensor:
        """Raw products of one layer: [draws, B, C, h, w] (frames before h for a video)."""
        if space not in SPACES:
            raise UnknownName("space", space, SPACES)
        if not 0 <= layer < len(self.concept):
            raise OutOfRange(f"layer {layer} was not recorded", allowed=f"0 to {len(self.concept) - 1}")
        image, concept = self.image[layer], self.concept[layer]
        if space == "output":
            raw = _product(concept.output, image.output)
        elif space == "value":
            raw = _product(concept.value, image.value)
        else:
            assert concept.query is not None
            heads, width = concept.query.shape[1], concept.query.shape[3]
            raw = _product(concept.query, image.key) / (heads * width**0.5)
        return self.grid.unflatten(raw).unflatten(0, (self.draws, -1))

    def maps(
        self,
        *,
        space: str = "output",
        softmax: bool = True,
        layers: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Where each class is: [B, K, h, w].

        Phrases are pooled to classes, then (with `softmax`) each token's scores become shares that sum to 1 over the
        classes, then layers and draws are averaged. Raises UnknownName for a space, OutOfRange for a layer.
        """
        layers = self._chosen(layers)
        total: torch.Tensor | None = None
        for layer in layers:
            scores = self.vocabulary.pool(self.scores(layer, space=space), dim=2)
            shares = scores.softmax(dim=2) if softmax else scores
            mean = shares.mean(dim=0)
            total = mean if total is None else total + mean
        assert total is not None
        return total / len(layers)

    def projected(self, *, space: str = "output", layers: Sequence[int] | None = None) -> torch.Tensor:
        """Concept-projected features [B, L * C, h, w], layer by layer, draws averaged: what a probe reads."""
        layers = self._chosen(layers)
        return torch.cat([self.scores(layer, space=space).mean(dim=0) for layer in layers], dim=1)

    def _chosen(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        chosen = self.layers if layers is None else tuple(layers)
        if not chosen:
            raise OutOfRange("no layer was given", allowed=f"one or more of 0 to {len(self.concept) - 1}")
        return chosen


def _product(concept: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """[B, heads, C, d] x [B, heads, N, d] -> [B, C, N], summed over heads and d.

    In float32: sums over thousands of bfloat16 products would be rounded to steps that a softmax sees.
    """
    c, i = (stream.float().transpose(1, 2).flatten(2) for stream in (concept, image))
    return c @ i.transpose(1, 2)
