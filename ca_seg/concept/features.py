"""From concept and image vectors to maps.

A map is the product of a concept's vector with each image token's vector, heads joined (paper, section 4.2). Three
spaces are offered, as in the paper's ablation:

    output            <concept attention output, image attention output>       the paper's choice
    value             <concept value, image value>
    cross-attention   <concept query, image key> / sqrt(head_dim), mean over heads, before any softmax

Options that are not the paper's: heads kept apart (each head's softmax, then their mean), and vectors normalised
before the product, against the massive activations of a few channels:

    none       as they are: the paper
    token      every vector to length 1, so that a product is a cosine
    channel    every channel divided by its root mean square over the image's tokens, concepts by the same number
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ca_seg.concept.grid import Grid
from ca_seg.concept.record import Stream
from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.vocabulary import Vocabulary

SPACES = ("output", "cross-attention", "value")
NORMALISE = ("none", "token", "channel")


@dataclass(frozen=True)
class ConceptFeatures:
    """Image and concept vectors of every recorded layer, for B images seen `draws` times each.

    A draw is one (timestep, noise sample). Streams are [draws * B, heads, tokens, head_dim], draw by draw.
    """

    vocabulary: Vocabulary
    grid: Grid
    noised_copies: int
    layers: tuple[int, ...]  # the layers that `maps` reads unless told otherwise
    image: tuple[Stream, ...]  # N tokens each
    concept: tuple[Stream, ...]  # C tokens each

    def scores(
        self, layer: int, *, space: str = "output", normalise: str = "none", per_head: bool = False
    ) -> torch.Tensor:
        """Raw products of one layer: [draws, B, C, h, w] (frames before h for a video).

        With `per_head`, head by head: [draws, B, heads, C, h, w]; their sum (in cross-attention their mean) is the score
        of the joined heads. Raises UnknownName, OutOfRange.
        """
        if normalise not in NORMALISE:
            raise UnknownName("normalisation", normalise, NORMALISE)
        image, concept = self._vectors(layer, space)
        if normalise == "token":
            image, concept = (
                x / x.square().sum(dim=(1, 3), keepdim=True).sqrt().clamp_min(1e-6) for x in (image, concept)
            )
        elif normalise == "channel":
            size = channel_rms(image, dim=2)
            image, concept = image / size, concept / size
        if per_head:
            raw = concept @ image.transpose(2, 3)
        else:
            joined, own = (x.transpose(1, 2).flatten(2) for x in (concept, image))
            raw = joined @ own.transpose(1, 2)
        if space == "cross-attention":
            raw = raw / (concept.shape[3] ** 0.5 * (1 if per_head else concept.shape[1]))
        return self.grid.unflatten(raw).unflatten(0, (self.noised_copies, -1))

    def maps(
        self,
        *,
        space: str = "output",
        softmax: bool = True,
        layers: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        normalise: str = "none",
        per_head: bool = False,
    ) -> torch.Tensor:
        """Where each class is: [B, K, h, w] (frames before h for a video).

        Phrases are pooled to classes, then (with `softmax`) each token's scores become shares that sum to 1 over the
        classes, then heads (when kept apart), layers and draws are averaged, layers by `weights` where they are given
        (one for each layer, 0 or more). Raises UnknownName for a space, OutOfRange for a layer or weights.
        """
        layers = self._chosen(layers)
        shares_of = [1.0] * len(layers) if weights is None else list(weights)
        if len(shares_of) != len(layers) or min(shares_of) < 0 or sum(shares_of) <= 0:
            raise OutOfRange(f"layer weights {shares_of}", allowed=f"{len(layers)} numbers, 0 or more, not all 0")
        total: torch.Tensor | None = None
        dim = 3 if per_head else 2
        for layer, weight in zip(layers, shares_of, strict=True):
            raw = self.scores(layer, space=space, normalise=normalise, per_head=per_head)
            scores = self.vocabulary.pool(raw, dim=dim)
            shares = scores.softmax(dim=dim) if softmax else scores
            mean = (shares.mean(dim=2) if per_head else shares).mean(dim=0)
            mean = mean if weights is None else weight * mean
            total = mean if total is None else total + mean
        assert total is not None
        return total / sum(shares_of)

    def noised_copy(self, number: int) -> ConceptFeatures:
        """What one draw, 0 to draws - 1, says on its own; no copy."""
        if not 0 <= number < self.noised_copies:
            raise OutOfRange(f"draw {number}", allowed=f"0 to {self.noised_copies - 1}")
        batch = len(self.image[0].key) // self.noised_copies
        rows = slice(number * batch, (number + 1) * batch)
        image, concept = (tuple(stream.rows(rows) for stream in own) for own in (self.image, self.concept))
        return replace(self, noised_copies=1, image=image, concept=concept)

    def projected(
        self, *, space: str = "output", layers: Sequence[int] | None = None, normalise: str = "none"
    ) -> torch.Tensor:
        """Concept-projected features [B, L * C, h, w], layer by layer, draws averaged: what a probe reads."""
        layers = self._chosen(layers)
        each = [self.scores(layer, space=space, normalise=normalise).mean(dim=0) for layer in layers]
        return torch.cat(each, dim=1)

    def _vectors(self, layer: int, space: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Image [draws * B, heads, N, d] and concept [draws * B, heads, C, d] vectors of a space.

        In float32: sums over thousands of bfloat16 products would be rounded to steps that a softmax sees.
        """
        if space not in SPACES:
            raise UnknownName("space", space, SPACES)
        if not 0 <= layer < len(self.concept):
            raise OutOfRange(f"layer {layer} was not recorded", allowed=f"0 to {len(self.concept) - 1}")
        image, concept = self.image[layer], self.concept[layer]
        if space == "output":
            return image.output.float(), concept.output.float()
        if space == "value":
            return image.value.float(), concept.value.float()
        assert concept.query is not None
        return image.key.float(), concept.query.float()

    def _chosen(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        chosen = self.layers if layers is None else tuple(layers)
        if not chosen:
            raise OutOfRange("no layer was given", allowed=f"one or more of 0 to {len(self.concept) - 1}")
        return chosen


def channel_rms(vectors: torch.Tensor, dim: int | tuple[int, ...]) -> torch.Tensor:
    """Root mean square of each channel over the image's tokens, which lie along `dim`; never 0, to divide by.

    A few channels of a transformer are far larger than the rest (massive activations: Sun et al., COLM 2024).
    """
    return vectors.square().mean(dim=dim, keepdim=True).sqrt().clamp_min(1e-6)
