"""How maps are read from a backbone: which layers, timesteps and space, and how they are combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import Images, as_tensor
from ca_seg.concept.choices import CONCEPT_ATTENTION, IMAGE_OUTPUT, NORMALISE, SPACES
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.recording import Recording
from ca_seg.errors import UnknownName
from ca_seg.vocabulary import Words

FORMER_NAMES = {"samples": "noise_samples", "heads": "per_head", "weights": "layer_weights"}  # in saved heads


@dataclass(frozen=True)
class ReadoutConfig:
    """How maps are read from a backbone; None is the card's value. Raises UnknownName for an unknown choice.

    Args:
        layers: the joint attentions that maps read
        timesteps: noise levels, 0 (clean) to 1 (noise); the maps of several are averaged
        noise_samples: noise samples per image and timestep
        space: output, cross-attention or value
        softmax: probabilities over the concepts (true) or raw products
        concept_attention: what concepts attend to: both (concepts and image), cross, self or none
        image_output: stock, or concepts (as the method's reference code reads SD3)
        normalise: none, token or channel
        per_head: read every attention head on its own and average the maps
        layer_weights: how much each layer counts; one number for each of `layers`
        flip: read the flipped image too, and take the mean
    """

    layers: tuple[int, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    noise_samples: int | None = None
    space: str | None = None
    softmax: bool = True
    concept_attention: str = "both"
    image_output: str = "stock"
    normalise: str = "none"
    per_head: bool = False
    layer_weights: tuple[float, ...] | None = None
    flip: bool = False

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
        """The options that differ from the defaults, as JSON values; `from_plain` is the inverse."""
        changed = {f.name: getattr(self, f.name) for f in fields(ReadoutConfig)}
        changed = {f.name: changed[f.name] for f in fields(ReadoutConfig) if changed[f.name] != f.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> ReadoutConfig:
        """From the result of `plain`, also that of a former version of ca_seg."""
        named = {FORMER_NAMES.get(name, name): value for name, value in values.items()}
        options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in named.items()}
        return ReadoutConfig(**options)

    def record(self, backbone: Backbone, images: Images, seeds: Sequence[int], *, queries: bool = False) -> Readout:
        """Record `images`, one seed per image; the result can be asked for maps."""
        recording = backbone.record(
            images,
            layers=self.layers,
            timesteps=self.timesteps,
            noise_samples=self.noise_samples,
            seed=list(seeds),
            queries=queries or self.image_output != "stock",
        )
        space = self.space or backbone.card.space
        if not self.flip:
            return Readout(recording, self, space)
        flipped = replace(self, flip=False).record(backbone, as_tensor(images).flip(-1), seeds, queries=queries)
        return Readout(recording, self, space, flipped)

    def resolved(self, backbone: Backbone) -> dict[str, Any]:
        """The options with the card's values filled in, for results.json."""
        card = backbone.card
        return {
            "layers": list(self.layers or card.layers),
            "timesteps": list(self.timesteps or (card.timestep,)),
            "noise_samples": self.noise_samples or card.noise_samples,
            "space": self.space or card.space,
            "softmax": self.softmax,
            "concept_attention": self.concept_attention,
            "image_output": self.image_output,
            "normalise": self.normalise,
            "per_head": self.per_head,
            "layer_weights": None if self.layer_weights is None else list(self.layer_weights),
            "flip": self.flip,
            "phrase_pooling": card.phrase_pooling,
            "resolution": card.resolution,
            "precision": str(backbone.dtype).removeprefix("torch."),
        }


@dataclass(frozen=True)
class Readout:
    """A recording, and how its maps are read."""

    recording: Recording
    config: ReadoutConfig
    space: str
    flipped: Readout | None = None

    def select(self, image: int) -> Readout:
        """The readout of one image of the batch; no copy."""
        flipped = None if self.flipped is None else self.flipped.select(image)
        return Readout(self.recording.select(image), self.config, self.space, flipped)

    def ask(self, vocabulary: Words) -> ConceptFeatures:
        """The concept and image vectors for words; without the flipped image."""
        config = self.config
        return self.recording.ask(
            vocabulary, concept_attention=config.concept_attention, image_output=config.image_output
        )

    def maps(self, vocabulary: Words) -> torch.Tensor:
        """Class maps [B, K, h, w]."""
        maps = self.maps_of(self.ask(vocabulary))
        return maps if self.flipped is None else (maps + self.flipped.maps(vocabulary).flip(-1)) / 2

    def maps_per_copy(self, vocabulary: Words) -> list[torch.Tensor]:
        """Class maps [B, K, h, w] of each noised copy (timestep, noise sample); their mean is `maps`."""
        features = self.ask(vocabulary)
        maps = [self.maps_of(features.noised_copy(index)) for index in range(features.noised_copies)]
        if self.flipped is None:
            return maps
        return [(a + b.flip(-1)) / 2 for a, b in zip(maps, self.flipped.maps_per_copy(vocabulary), strict=True)]

    def maps_of(self, features: ConceptFeatures) -> torch.Tensor:
        """Class maps [B, K, h, w] of concept features; without the flipped image."""
        config = self.config
        return features.maps(
            space=self.space,
            softmax=config.softmax,
            weights=config.layer_weights,
            normalise=config.normalise,
            per_head=config.per_head,
        )
