"""A backbone that sees an image in overlapping windows or at several scales; the maps are averaged.

windows    each window is an image by itself, resized to the backbone's resolution
scales     the image at 0.5, 1, 2 times the backbone's resolution
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import working_size
from ca_seg.backbones.other_card import with_resolution
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import PRESENT
from ca_seg.predictors.prompted import present_names
from ca_seg.predictors.views import Views, predict_views
from ca_seg.vocabulary import Vocabulary


class MultiViewPredictor:
    """The mean maps of several views of each image.

    The recordings are not stored, so every vocabulary records the images again.

    Args:
        backbone: the frozen model
        config: how the maps of each view are read out
        views: windows or scales
        classes: the dataset's classes, for the prompt `present`
    """

    def __init__(
        self, backbone: Backbone, config: ReadoutConfig, views: Views, *, classes: Sequence[str] | None = None
    ) -> None:
        self.backbone, self.config, self.views, self.classes = backbone, config, views, classes
        self.needs_ground_truth = config.prompt == PRESENT

    def settings(self) -> dict[str, Any]:
        """How the maps are read out, for results.json."""
        return self.config.resolved(self.backbone)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> MultiViewPrediction:
        present = present_names(self.config, self.classes, ground_truth, len(images))
        return MultiViewPrediction(self, images, tuple(seeds), present)


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
        card = backbone.card

        def predict(view: torch.Tensor) -> torch.Tensor:
            sized = backbone
            if views.window is None:  # the view has the size at which it is recorded
                sized = with_resolution(backbone, min(view.shape[-2:]))
            readout = self.predictor.config.record(
                sized, view, self.seeds, vocabulary=vocabulary, present=self.present, words=[vocabulary]
            )
            return readout.maps(vocabulary).cpu()

        images = self.images
        if views.window is None:
            size = working_size(images.shape[-2], images.shape[-1], card.resolution, card.multiple)
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return predict_views(predict, images, replace(views, multiple=card.multiple))
