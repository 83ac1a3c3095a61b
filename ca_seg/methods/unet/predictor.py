"""Attribution maps of real pictures as predictors.

    DAAM    the words are the prompt:        record(pictures, "a cat, a grass")           one pass for each vocabulary
    OVAM    the words are asked afterwards:  record(pictures, "") ──► ask("a cat, a grass")   one pass for all

A vocabulary that is too long for the text encoder is split over several prompts, in order. Words compete in the softmax
with those of their own prompt only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.recording import CrossAttentionRecording
from ca_seg.cross_attention.words import prompt_of, prompts_of
from ca_seg.methods.image_size import check_image_size
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class AttributionSettings:
    """How pictures are noised.

    Args:
        timestep: noise level, 0 (clean) to 1 (noise)
        noise_samples: noised copies of each picture
    """

    timestep: float
    noise_samples: int = 5


class AttributionPredictor:
    """What both methods share: the checks, the settings, and how a vocabulary becomes prompts.

    Args:
        name: of the method
        reader: of its pipeline
        noising: how pictures are noised
    """

    needs_ground_truth = False
    resizing: str

    def __init__(self, name: str, reader: CrossAttentionReader, noising: AttributionSettings) -> None:
        self.name, self.reader, self.noising = name, reader, noising

    def settings(self) -> dict[str, Any]:
        """How pictures are noised and layers are read, for results.json."""
        return {
            "timestep": self.noising.timestep,
            "noise_samples": self.noising.noise_samples,
            "resolution": self.reader.resolution,
            "layers": self.reader.patterns,
            "resizing": self.resizing,
        }

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for a phrase that is too long for the text encoder."""
        self.groups(vocabulary)

    def groups(self, vocabulary: Vocabulary) -> list[list[str]]:
        """The phrases of each prompt."""
        return prompts_of(vocabulary.concepts, partial(self.reader.family.fits, self.reader.pipeline))

    def record(self, images: torch.Tensor, prompt: str, seeds: Sequence[int]) -> CrossAttentionRecording:
        """Pictures [B, 3, H, W] in 0..1 in one pass with a prompt."""
        return self.reader.record(
            images, prompt, timesteps=self.noising.timestep, noise_samples=self.noising.noise_samples, seed=seeds
        )


class PromptAttribution(AttributionPredictor):
    """DAAM (Tang et al. 2023): the words are the prompt of the pass."""

    resizing = "bicubic"

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> PicturesOfPrompts:
        check_image_size(images, self.name)
        return PicturesOfPrompts(self, images, tuple(seeds))


@dataclass(frozen=True)
class PicturesOfPrompts:
    """Pictures that wait for words: each vocabulary is another prompt, and another pass."""

    predictor: PromptAttribution
    images: torch.Tensor
    seeds: tuple[int, ...]

    def select(self, image: int) -> PicturesOfPrompts:
        return replace(self, images=self.images[image : image + 1], seeds=self.seeds[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        predictor = self.predictor
        parts = [
            predictor.record(self.images, prompt_of(phrases), self.seeds).phrase_maps(
                phrases, resizing=predictor.resizing, in_order=True
            )
            for phrases in predictor.groups(vocabulary)
        ]
        return vocabulary.pool(torch.cat(parts, dim=1), dim=1)


class OpenVocabularyAttribution(AttributionPredictor):
    """OVAM (Marcos-Manchon et al. 2024): the pass has an empty prompt, and the words are asked of its queries."""

    resizing = "bilinear"

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> PicturesAsked:
        check_image_size(images, self.name)
        return PicturesAsked(self, self.record(images, "", seeds))


@dataclass(frozen=True)
class PicturesAsked:
    """Recorded pictures, asked for each vocabulary without another pass."""

    predictor: OpenVocabularyAttribution
    recording: CrossAttentionRecording

    def select(self, image: int) -> PicturesAsked:
        return replace(self, recording=self.recording.select(image))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        parts = [
            self.recording.ask(prompt_of(phrases)).phrase_maps(phrases, resizing=self.predictor.resizing, in_order=True)
            for phrases in self.predictor.groups(vocabulary)
        ]
        return vocabulary.pool(torch.cat(parts, dim=1), dim=1)
