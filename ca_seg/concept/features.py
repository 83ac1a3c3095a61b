"""From concept and image vectors to maps.

A map is the product of a concept's vector with the vector of every image token, over all heads (paper, section 4.2).
There are three choices of vectors (spaces), as in the paper's ablation:

    output            <concept attention output, image attention output>       the paper's choice
    value             <concept value, image value>
    cross-attention   <concept query, image key> / sqrt(head_dim), mean over heads, before any softmax

Two options are not in the paper: separate heads (a softmax per head, then their mean), and vectors that are normalised
before the product (`normalise.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ca_seg.concept.choices import CONCEPT_PART, IMAGE_PART, NORMALISE, SPACES
from ca_seg.concept.grid import Grid
from ca_seg.concept.normalise import normalised
from ca_seg.concept.prompt_attention import PromptAttention
from ca_seg.concept.record import Stream, batch_rows
from ca_seg.errors import CorruptWeights, OutOfRange, UnknownName
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class ConceptFeatures:
    """Image and concept vectors of every recorded layer, for B images in `noised_copies` copies each.

    A noised copy is an image noised at one (timestep, noise sample). Streams are [copies * B, heads, tokens, head_dim],
    copy by copy.
    """

    vocabulary: Vocabulary
    grid: Grid
    noised_copies: int
    layers: tuple[int, ...]  # the layers that `maps` reads by default
    image: tuple[Stream, ...]  # N tokens each
    concept: tuple[Stream, ...]  # C tokens each; none for readers of the prompt
    prompt: PromptAttention | None = None  # recorded for readers of the prompt

    def scores(
        self, layer: int, *, space: str = "output", normalise: str = "none", per_head: bool = False
    ) -> torch.Tensor:
        """Raw products of one layer, before any softmax.

        Args:
            layer: a recorded layer
            space: output, cross-attention or value
            normalise: none, token, channel, concepts or discard
            per_head: a product per head; their sum (for cross-attention their mean) is the product over all heads

        Returns:
            [copies, B, C, h, w], with `per_head` [copies, B, heads, C, h, w] (frames before h for a video)

        Raises:
            UnknownName: for an unknown space or normalisation
            OutOfRange: for a layer, or a part of it, that was not recorded
        """
        if normalise not in NORMALISE:
            raise UnknownName("normalisation", normalise, NORMALISE)
        image, concept = normalised(*self._vectors(layer, space), normalise)
        if per_head:
            raw = concept @ image.transpose(2, 3)
        else:
            concept_vectors, image_vectors = (x.transpose(1, 2).flatten(2) for x in (concept, image))
            raw = concept_vectors @ image_vectors.transpose(1, 2)
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
        """Maps of the K classes.

        Phrases are pooled to classes. With `softmax` the scores of every image token become probabilities over the
        classes. Then heads (with `per_head`), layers and noised copies are averaged.

        Args:
            space: output, cross-attention or value
            softmax: probabilities (true) or raw products
            layers: the layers to read (default: `self.layers`)
            weights: how much every layer counts, 0 or more, one number per layer (default: all the same)
            normalise: none, token, channel, concepts or discard
            per_head: a softmax per head, then their mean

        Returns:
            [B, K, h, w] (frames before h for a video)

        Raises:
            UnknownName: for an unknown space or normalisation
            OutOfRange: for a layer that was not recorded, or weights that do not fit
        """
        layers = self._chosen(layers)
        layer_weights = [1.0] * len(layers) if weights is None else list(weights)
        if len(layer_weights) != len(layers) or min(layer_weights) < 0 or sum(layer_weights) <= 0:
            raise OutOfRange(f"layer weights {layer_weights}", allowed=f"{len(layers)} numbers, 0 or more, not all 0")
        total: torch.Tensor | None = None
        dim = 3 if per_head else 2
        for layer, weight in zip(layers, layer_weights, strict=True):
            raw = self.scores(layer, space=space, normalise=normalise, per_head=per_head)
            scores = self.vocabulary.pool(raw, dim=dim)
            values = scores.softmax(dim=dim) if softmax else scores
            mean = (values.mean(dim=2) if per_head else values).mean(dim=0)
            mean = mean if weights is None else weight * mean
            total = mean if total is None else total + mean
        assert total is not None
        return check_finite(total / sum(layer_weights))

    def noised_copy(self, number: int) -> ConceptFeatures:
        """The features of one noised copy, 0 to noised_copies - 1; tensors are not copied. Raises OutOfRange."""
        if not 0 <= number < self.noised_copies:
            raise OutOfRange(f"noised copy {number}", allowed=f"0 to {self.noised_copies - 1}")
        batch = batch_rows(self.image) // self.noised_copies
        rows = slice(number * batch, (number + 1) * batch)
        image, concept = (tuple(stream.rows(rows) for stream in streams) for streams in (self.image, self.concept))
        prompt = None if self.prompt is None else self.prompt.rows(rows)
        return replace(self, noised_copies=1, image=image, concept=concept, prompt=prompt)

    def projected(
        self, *, space: str = "output", layers: Sequence[int] | None = None, normalise: str = "none"
    ) -> torch.Tensor:
        """Concept-projected features [B, L * C, h, w] for probes: layer by layer, the mean over noised copies."""
        chosen = self._chosen(layers)
        scores = [self.scores(layer, space=space, normalise=normalise).mean(dim=0) for layer in chosen]
        return torch.cat(scores, dim=1)

    def _vectors(self, layer: int, space: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Image [copies * B, heads, N, d] and concept [copies * B, heads, C, d] vectors of a space.

        In float32: sums of thousands of bfloat16 products would be rounded so much that the softmax changes.
        """
        if space not in SPACES:
            raise UnknownName("space", space, SPACES)
        if not 0 <= layer < len(self.concept):
            raise OutOfRange(f"layer {layer} was not recorded", allowed=f"0 to {len(self.concept) - 1}")
        image, concept = self.image[layer], self.concept[layer]
        return image.part(IMAGE_PART[space]).float(), concept.part(CONCEPT_PART[space]).float()

    def _chosen(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        chosen = self.layers if layers is None else tuple(layers)
        if not chosen:
            raise OutOfRange("no layer was given", allowed=f"one or more of 0 to {len(self.concept) - 1}")
        return chosen


def check_finite(maps: torch.Tensor) -> torch.Tensor:
    """The maps. Raises CorruptWeights where one is NaN or infinite, for a class would win there all the same."""
    if not bool(maps.isfinite().all()):
        fix = "load whole weights; in fp16, try bf16 or fp32"
        raise CorruptWeights("the maps are not finite: the weights or the image hold NaN or infinity", fix=fix)
    return maps
