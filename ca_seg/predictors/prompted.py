"""Images that are recorded only when words are asked: their prompts are made of those words, or differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import PRESENT
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary


@dataclass(frozen=True)
class PromptedPrediction:
    """Images [B, 3, H, W] whose maps are computed per vocabulary; nothing is kept between two.

    Args:
        backbone: the frozen model
        config: how its maps are read, with a prompt of words
        images: in 0..1
        seeds: one per image
        queries: keep the image queries in recordings
        present: the classes that each image shows, for the prompt `present`
    """

    backbone: Backbone
    config: ReadoutConfig
    images: torch.Tensor
    seeds: tuple[int, ...]
    queries: bool = False
    present: tuple[tuple[str, ...], ...] | None = None

    def select(self, image: int) -> PromptedPrediction:
        rows = slice(image, image + 1)
        present = None if self.present is None else self.present[rows]
        return replace(self, images=self.images[rows], seeds=self.seeds[rows], present=present)

    def showing(self, names: Sequence[str]) -> PromptedPrediction:
        """The same, where it is known from elsewhere that every image shows these classes."""
        return replace(self, present=(tuple(names),) * len(self.images))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w]. Raises UserError for the prompt `present` where `present` is not known."""
        if self.config.prompt_by_image and len(self.images) > 1:
            return torch.cat([self.select(image).maps(vocabulary) for image in range(len(self.images))])
        readout = self.config.record(
            self.backbone,
            self.images,
            self.seeds,
            queries=self.queries,
            vocabulary=vocabulary,
            present=self.present,
            words=[vocabulary],
        )
        return readout.maps(vocabulary)


def present_names(
    config: ReadoutConfig,
    classes: Sequence[str] | None,
    ground_truth: Callable[[int], torch.Tensor] | None,
    images: int,
) -> tuple[tuple[str, ...], ...] | None:
    """The classes that each image's ground truth shows, for the prompt `present`; None where there is none of these.

    Args:
        config: with the prompt
        classes: the dataset's classes, in the order of the mask's indices
        ground_truth: the mask [H, W] of image i
        images: how many there are
    """
    if config.prompt != PRESENT or classes is None or ground_truth is None:
        return None
    masks = [ground_truth(index) for index in range(images)]
    return tuple(tuple(classes[i] for i in mask[mask != IGNORE_INDEX].unique().tolist()) for mask in masks)
