"""How a backbone's pictures are recorded, asked and read: every choice in one place, `None` meaning the card's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.pictures import Pictures, as_tensor
from ca_seg.concept.ask import CONCEPT_ATTENTION, IMAGE_OUTPUT
from ca_seg.concept.features import NORMALISE, SPACES, ConceptFeatures
from ca_seg.concept.recording import Recording
from ca_seg.errors import UnknownName
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Reading:
    """Recording (layers, timesteps, samples), asking (concept_attention, image_output) and reading of maps."""

    layers: tuple[int, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    samples: int | None = None
    space: str | None = None
    softmax: bool = True
    concept_attention: str = "both"
    image_output: str = "stock"
    normalise: str = "none"
    heads: bool = False
    queries: bool = False  # keep the image's queries, for refinement by attention
    weights: tuple[float, ...] | None = None  # of the layers; None: all alike
    flip: bool = False  # read the mirrored picture too, and take the mean

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("space", self.space, SPACES),
            ("concept attention", self.concept_attention, CONCEPT_ATTENTION),
            ("image output", self.image_output, IMAGE_OUTPUT),
            ("normalisation", self.normalise, NORMALISE),
        ):
            if name is not None and name not in known:
                raise UnknownName(kind, name, known)

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON can hold it; `from_plain` is its inverse."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

    @classmethod
    def from_plain(cls, told: Mapping[str, Any]) -> Reading:
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})

    def record(self, backbone: Backbone, images: Pictures, seeds: Sequence[int]) -> Read:
        recording = backbone.record(
            images,
            layers=self.layers,
            timesteps=self.timesteps,
            samples=self.samples,
            seed=list(seeds),
            queries=self.queries or self.image_output != "stock",
        )
        space = self.space or backbone.card.space
        if not self.flip:
            return Read(recording, self, space)
        mirrored = replace(self, flip=False).record(backbone, as_tensor(images).flip(-1), seeds)
        return Read(recording, self, space, mirrored)

    def resolved(self, backbone: Backbone) -> dict[str, Any]:
        """The settings as they are used, for results.json."""
        card = backbone.card
        return {
            "layers": list(self.layers or card.layers),
            "timesteps": list(self.timesteps or (card.timestep,)),
            "samples": self.samples or card.samples,
            "space": self.space or card.space,
            "softmax": self.softmax,
            "concept_attention": self.concept_attention,
            "image_output": self.image_output,
            "normalise": self.normalise,
            "heads": self.heads,
            "layer_weights": None if self.weights is None else list(self.weights),
            "flip": self.flip,
            "phrase_pooling": card.phrase_pooling,
            "resolution": card.resolution,
            "precision": str(backbone.dtype).removeprefix("torch."),
        }


@dataclass(frozen=True)
class Read:
    """A recording, and how it is to be read."""

    recording: Recording
    reading: Reading
    space: str
    mirrored: Read | None = None

    def select(self, picture: int) -> Read:
        mirrored = None if self.mirrored is None else self.mirrored.select(picture)
        return Read(self.recording.select(picture), self.reading, self.space, mirrored)

    def ask(self, vocabulary: Vocabulary) -> ConceptFeatures:
        own = self.reading
        return self.recording.ask(vocabulary, concept_attention=own.concept_attention, image_output=own.image_output)

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w]."""
        maps = self.maps_of(self.ask(vocabulary))
        return maps if self.mirrored is None else (maps + self.mirrored.maps(vocabulary).flip(-1)) / 2

    def draws(self, vocabulary: Vocabulary) -> list[torch.Tensor]:
        """Class maps [B, K, h, w] of each draw (timestep, noise sample) on its own; their mean is `maps`."""
        features = self.ask(vocabulary)
        each = [self.maps_of(features.draw(number)) for number in range(features.draws)]
        if self.mirrored is None:
            return each
        return [(a + b.flip(-1)) / 2 for a, b in zip(each, self.mirrored.draws(vocabulary), strict=True)]

    def maps_of(self, features: ConceptFeatures) -> torch.Tensor:
        """Class maps [B, K, h, w] of what was asked; without the mirrored picture."""
        own = self.reading
        return features.maps(
            space=self.space, softmax=own.softmax, weights=own.weights, normalise=own.normalise, heads=own.heads
        )
