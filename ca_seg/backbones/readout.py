"""How maps are read from a backbone: which layers, timesteps and space, and how they are combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.caption_prompt import caption_prompts
from ca_seg.backbones.images import Images, as_tensor
from ca_seg.backbones.loading.card import Card
from ca_seg.backbones.noise import check_timestep_choice
from ca_seg.backbones.prompt import check_prompt_reader, image_prompt
from ca_seg.concept.blur import blurred
from ca_seg.concept.choices import (
    ALL,
    CAPTIONER,
    CONCEPT_ATTENTION,
    IMAGE_OUTPUT,
    MEAN,
    NO_PROMPT,
    NORMALISE,
    PRESENT,
    PROMPT_READERS,
    QUERY_READERS,
    READERS,
    SPACES,
)
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.frequency import of_chosen_timestep
from ca_seg.concept.known_words import KnownWords
from ca_seg.concept.readers.registry import check_options, read
from ca_seg.concept.recording import Recording
from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary, check_template

PRODUCTS = ("space", "softmax", "normalise", "per_head", "layer_weights", "image_output")  # of the reader `concepts`
AS_GIVEN = ("softmax", "concept_attention", "image_output", "normalise", "per_head", "flip", "prompt", "reader", "blur")
FORMER_NAMES = {"samples": "noise_samples", "heads": "per_head", "weights": "layer_weights"}  # in saved heads


@dataclass(frozen=True, kw_only=True)
class ReadoutConfig:
    """How maps are read from a backbone; None is the card's value. Raises UnknownName for an unknown choice.

    Args:
        layers: the joint attentions that maps read
        timesteps: noise levels, 0 (clean) to 1 (noise)
        timestep_choice: of several timesteps: mean (the mean of the maps), or high-frequency (for each image the one
            whose attention outputs have the largest share of high frequencies)
        noise_samples: noise samples per image and timestep
        space: output, cross-attention or value
        softmax: probabilities over the concepts (true) or raw products
        concept_attention: what concepts attend to: both (concepts and image), cross, self or none
        image_output: stock, or concepts (as the method's reference code reads SD3)
        normalise: none, token, channel, concepts or discard
        per_head: read every attention head on its own and average the maps
        layer_weights: how much each layer counts; one number for each of `layers`
        flip: read the flipped image too, and take the mean
        prompt: what the model reads beside the image: none, all (the words that are asked), present (those that the
            ground truth shows; an oracle, in evaluations only), captioner (the caption of each image), or a text
        captioner: a BLIP or Florence-2 for the prompt captioner and the words "auto": a repository of the hub or folder
        reader: concepts (products of concept and image vectors), seg4diff, goca, tokenrank, gramcol or anchordiff
        reader_options: of a published reader, such as {weigh_heads: false}; docs/methods.md lists them
        templates: sentences with {} for a phrase; the maps of all are averaged
        blur: smooth the maps with a Gaussian of 3 x 3 tokens, as the method's reference code does
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
    prompt: str = NO_PROMPT
    captioner: str | None = None
    reader: str = "concepts"
    reader_options: dict[str, Any] | None = None
    templates: tuple[str, ...] | None = None
    blur: bool = False
    timestep_choice: str = MEAN

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("space", self.space, SPACES),
            ("concept attention", self.concept_attention, CONCEPT_ATTENTION),
            ("image output", self.image_output, IMAGE_OUTPUT),
            ("normalisation", self.normalise, NORMALISE),
            ("reader", self.reader, READERS),
        ):
            if name is not None and name not in known:
                raise UnknownName(kind, name, known)
        for template in self.templates or ():
            check_template(template)
        check_timestep_choice(self.timestep_choice, self.timesteps)
        check_options(self.reader, self.reader_options or {})
        for field in fields(ReadoutConfig) if self.reader != "concepts" else ():
            if field.name in PRODUCTS and getattr(self, field.name) != field.default:
                raise UserError(f"the reader {self.reader!r} has no {field.name}", fix=f"leave {field.name} out")
        check_prompt_reader(self.reader, self.prompt, self.templates)

    def plain(self) -> dict[str, Any]:
        """The options that differ from the defaults and have an effect, as JSON values; see `from_plain`."""
        given = {f.name: getattr(self, f.name) for f in fields(ReadoutConfig)} | {"captioner": self.prompt_captioner}
        changed = {f.name: given[f.name] for f in fields(ReadoutConfig) if given[f.name] != f.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> ReadoutConfig:
        """From the result of `plain`, also that of a former version of ca_seg."""
        named = {FORMER_NAMES.get(name, name): value for name, value in values.items()}
        options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in named.items()}
        return ReadoutConfig(**options)

    @property
    def prompt_captioner(self) -> str | None:
        """The captioner that makes the prompts; None for another prompt."""
        return self.captioner if self.prompt == CAPTIONER else None

    @property
    def records_words(self) -> bool:
        """Whether an image is recorded with the words that are asked, and so anew for each vocabulary."""
        return self.prompt in (ALL, PRESENT) or (self.prompt == CAPTIONER and self.reader in PROMPT_READERS)

    @property
    def prompt_by_image(self) -> bool:
        """Whether prompts differ. Such images are recorded one at a time: in a batch, the shorter would be padded."""
        return self.prompt in (PRESENT, CAPTIONER)

    @property
    def timesteps_read(self) -> int:
        """How many timesteps the maps of an image are read at."""
        return len(self.timesteps) if self.timesteps and self.timestep_choice == MEAN else 1

    def record(
        self,
        backbone: Backbone,
        images: Images,
        seeds: Sequence[int],
        *,
        queries: bool = False,
        vocabulary: Vocabulary | None = None,
        present: Sequence[Sequence[str]] | None = None,
        words: Sequence[Vocabulary] | None = None,
        parts: Sequence[str] = (),
    ) -> Readout:
        """Record images; the result can be asked for maps.

        Args:
            backbone: the frozen model
            images: see `images.as_tensor`
            seeds: of the noise, one per image
            queries: keep the image's queries too
            vocabulary: the words that will be asked, where the prompt is made of them
            present: the classes that each image shows, for the prompt `present`
            words: all that will be asked, if that is known; none, if nothing will be. Then much less memory is taken,
                and other words are refused. Without effect with `queries`, `image_output` "concepts" and other readers
                than `concepts`, which need all layers, and with `templates`, which are asked one after another
            parts: more parts of the image that are read beside maps: key, value or output

        Raises:
            UserError: for a prompt that needs words, or the ground truth, and none are given
        """
        if self.prompt == CAPTIONER:
            asked = vocabulary if self.reader in PROMPT_READERS else None
            prompts = caption_prompts(self.captioner, as_tensor(images), backbone.text, backbone.device, asked)
        else:
            prompts = [image_prompt(self.prompt, vocabulary, names) for names in present or (None,) * len(seeds)]
        space = self.space or backbone.card.space
        everything = queries or words is None or self.image_output != "stock" or self.reader != "concepts"
        known = None
        if not everything and not self.templates:
            kept = parts if self.timestep_choice == MEAN else (*parts, "output")
            known = KnownWords(tuple(words or ()), space, self.concept_attention, tuple(kept))
        recording = backbone.record(
            images,
            prompt=[prompt.text for prompt in prompts],
            prompt_phrases=[prompt.phrases for prompt in prompts] if self.reader in PROMPT_READERS else None,
            layers=self.layers,
            timesteps=self.timesteps,
            noise_samples=self.noise_samples,
            seed=list(seeds),
            queries=queries or self.image_output != "stock" or self.reader in QUERY_READERS,
            known=known,
        )
        recording = of_chosen_timestep(recording, self.timestep_choice, self.timesteps)
        if not self.flip:
            return Readout(recording, self, space)
        flipped = replace(self, flip=False).record(
            backbone,
            as_tensor(images).flip(-1),
            seeds,
            queries=queries,
            vocabulary=vocabulary,
            present=present,
            words=words,
            parts=parts,
        )
        return Readout(recording, self, space, flipped)

    def resolved(self, backbone: Backbone) -> dict[str, Any]:
        """The options with the card's values filled in, and the precision, for results.json."""
        return self.resolved_by(backbone.card) | {"precision": str(backbone.dtype).removeprefix("torch.")}

    def resolved_by(self, card: Card) -> dict[str, Any]:
        """The options with the card's values filled in, as JSON values."""
        return {
            "layers": list(self.layers or card.layers),
            "timesteps": list(self.timesteps or (card.timestep,)),
            "timestep_choice": self.timestep_choice,
            "noise_samples": self.noise_samples or card.noise_samples,
            "space": self.space or card.space,
            **{name: getattr(self, name) for name in AS_GIVEN},
            "layer_weights": None if self.layer_weights is None else list(self.layer_weights),
            "captioner": self.prompt_captioner,
            "reader_options": self.reader_options,
            "templates": None if self.templates is None else list(self.templates),
            "phrase_pooling": card.phrase_pooling,
            "resolution": card.resolution,
        }


@dataclass(frozen=True)
class Readout:
    """A recording, and how its maps are read."""

    recording: Recording
    config: ReadoutConfig
    space: str
    flipped: Readout | None = None

    def select(self, image: int) -> Readout:
        """The readout of one image of the batch. It does not keep the batch in memory."""
        flipped = None if self.flipped is None else self.flipped.select(image)
        return Readout(self.recording.select(image), self.config, self.space, flipped)

    def ask(self, vocabulary: Words) -> ConceptFeatures:
        """The concept and image vectors for words; without the flipped image and without templates."""
        config = self.config
        if config.reader in PROMPT_READERS:
            return self.recording.prompt_words(vocabulary)
        return self.recording.ask(
            vocabulary, concept_attention=config.concept_attention, image_output=config.image_output
        )

    def maps(self, vocabulary: Words) -> torch.Tensor:
        """Class maps [B, K, h, w]."""
        maps = torch.stack([self.maps_of(self.ask(words)) for words in self._templates(vocabulary)]).mean(dim=0)
        return maps if self.flipped is None else (maps + self.flipped.maps(vocabulary).flip(-1)) / 2

    def maps_of_images(self, vocabularies: Mapping[int, Vocabulary]) -> dict[int, torch.Tensor]:
        """Class maps [1, K, h, w] of images of the batch, each for its own words: `select(image).maps(words)`."""
        config = self.config
        if config.templates is not None or config.reader in PROMPT_READERS:
            return {image: self.select(image).maps(words) for image, words in vocabularies.items()}
        asked = self.recording.ask_images(
            vocabularies, concept_attention=config.concept_attention, image_output=config.image_output
        )
        maps = {image: self.maps_of(features) for image, features in asked.items()}
        if self.flipped is None:
            return maps
        flipped = self.flipped.maps_of_images(vocabularies)
        return {image: (one + flipped[image].flip(-1)) / 2 for image, one in maps.items()}

    def maps_per_copy(self, vocabulary: Words) -> list[torch.Tensor]:
        """Class maps [B, K, h, w] of each noised copy (timestep, noise sample); their mean is `maps`."""
        asked = [self.ask(words) for words in self._templates(vocabulary)]
        each = [[self.maps_of(f.noised_copy(index)) for f in asked] for index in range(asked[0].noised_copies)]
        maps = [torch.stack(of_templates).mean(dim=0) for of_templates in each]
        if self.flipped is None:
            return maps
        return [(a + b.flip(-1)) / 2 for a, b in zip(maps, self.flipped.maps_per_copy(vocabulary), strict=True)]

    def maps_of(self, features: ConceptFeatures) -> torch.Tensor:
        """Class maps [B, K, h, w] of concept features; without the flipped image."""
        config = self.config
        if config.reader == "concepts":
            maps = features.maps(
                space=self.space,
                softmax=config.softmax,
                weights=config.layer_weights,
                normalise=config.normalise,
                per_head=config.per_head,
            )
        else:
            maps = read(config.reader, features, config.reader_options)
        return blurred(maps) if config.blur else maps

    def _templates(self, vocabulary: Words) -> list[Words]:
        """The vocabulary in each of the templates."""
        templates = self.config.templates
        return [vocabulary] if templates is None else [as_vocabulary(vocabulary).in_template(t) for t in templates]
