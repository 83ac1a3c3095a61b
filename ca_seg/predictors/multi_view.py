"""A backbone that sees an image in overlapping windows or at several scales; the maps are averaged.

windows    each window is an image by itself, resized to the backbone's resolution
scales     the image at 0.5, 1, 2 times the backbone's resolution
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import resize_maps, working_size
from ca_seg.backbones.other_card import with_resolution
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.concept.choices import PRESENT
from ca_seg.predictors.prompted import present_names
from ca_seg.predictors.views import Views, predict_views, scaled
from ca_seg.vocabulary import Vocabulary


class MultiViewPredictor:
    """The mean maps of several views of each image.

    Scales are recorded once, and then asked any vocabulary. Recordings of windows are not stored, because there may be
    many: every vocabulary records them again. So do scales where the prompt depends on the words or on the image.

    Args:
        backbone: the frozen model
        config: how the maps of each view are read out
        views: windows or scales
        classes: the dataset's classes, for the prompt `present`
        words: all that predictions will be asked, if that is known: recordings then take much less memory
    """

    def __init__(
        self,
        backbone: Backbone,
        config: ReadoutConfig,
        views: Views,
        *,
        classes: Sequence[str] | None = None,
        words: Sequence[Vocabulary] | None = None,
    ) -> None:
        self.backbone, self.config, self.views = backbone, config, replace(views, multiple=backbone.card.multiple)
        self.classes, self.words = classes, words
        self.needs_ground_truth = config.prompt == PRESENT

    def settings(self) -> dict[str, Any]:
        """How the maps are read out, for results.json."""
        return self.config.resolved(self.backbone)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> MultiViewPrediction | ScalesPrediction:
        if self.views.window is None:
            card = self.backbone.card
            size = working_size(images.shape[-2], images.shape[-1], card.resolution, card.multiple)
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            if not self.config.records_words and not self.config.prompt_by_image:
                return self._record_scales(images, seeds)
        present = present_names(self.config, self.classes, ground_truth, len(images))
        return MultiViewPrediction(self, images, tuple(seeds), present)

    def _record_scales(self, images: torch.Tensor, seeds: Sequence[int]) -> ScalesPrediction:
        readouts, sizes = [], []
        for scale in self.views.scales:
            view = scaled(images, scale, self.views.multiple)
            sized = with_resolution(self.backbone, min(view.shape[-2:]))
            readouts.append(self.config.record(sized, view, seeds, words=self.words))
            sizes.append((view.shape[-2], view.shape[-1]))
        return ScalesPrediction(tuple(readouts), tuple(sizes), (images.shape[-2], images.shape[-1]))


@dataclass(frozen=True)
class ScalesPrediction:
    """Recordings of a batch of images at several scales: the size (height, width) of each, and that of the maps."""

    readouts: tuple[Readout, ...]
    sizes: tuple[tuple[int, int], ...]
    size: tuple[int, int]

    def select(self, image: int) -> ScalesPrediction:
        return replace(self, readouts=tuple(readout.select(image) for readout in self.readouts))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w] at the backbone's working size: the mean over the scales."""
        return self._mean([readout.maps(vocabulary) for readout in self.readouts])

    def maps_of_images(self, vocabularies: Mapping[int, Vocabulary]) -> dict[int, torch.Tensor]:
        """Class maps [1, K, h, w] of images of the batch, each for its own words."""
        asked = [readout.maps_of_images(vocabularies) for readout in self.readouts]
        return {image: self._mean([maps[image] for maps in asked]) for image in vocabularies}

    def _mean(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        views = (resize_maps(one.cpu(), *size) for one, size in zip(maps, self.sizes, strict=True))
        return sum((resize_maps(view, *self.size) for view in views), torch.zeros(())) / len(maps)


@dataclass(frozen=True)
class MultiViewPrediction:
    """Images [B, 3, H, W], their seeds, and the classes that each shows, for the prompt `present`."""

    predictor: MultiViewPredictor
    images: torch.Tensor
    seeds: tuple[int, ...]
    present: tuple[tuple[str, ...], ...] | None = None

    def select(self, image: int) -> MultiViewPrediction:
        rows = slice(image, image + 1)
        present = None if self.present is None else self.present[rows]
        return replace(self, images=self.images[rows], seeds=self.seeds[rows], present=present)

    def showing(self, names: Sequence[str]) -> MultiViewPrediction:
        """The same, where it is known from elsewhere that every image shows these classes."""
        return replace(self, present=(tuple(names),) * len(self.images))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w]: of windows at the images' size, of scales at the backbone's working size."""
        backbone, views = self.predictor.backbone, self.predictor.views
        if self.predictor.config.prompt_by_image and len(self.images) > 1:
            return torch.cat([self.select(image).maps(vocabulary) for image in range(len(self.images))])

        def predict(view: torch.Tensor) -> torch.Tensor:
            sized = backbone
            if views.window is None:  # the view has the size at which it is recorded
                sized = with_resolution(backbone, min(view.shape[-2:]))
            readout = self.predictor.config.record(
                sized, view, self.seeds, vocabulary=vocabulary, present=self.present, words=[vocabulary]
            )
            return readout.maps(vocabulary).cpu()

        return predict_views(predict, self.images, views)
