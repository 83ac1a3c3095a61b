"""A backbone that looks at an image in overlapping windows or at several scales, and averages the maps.

windows    each window is an image of its own, brought to the backbone's resolution
scales     the image at 0.5, 1, 2 times the backbone's resolution
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import working_size
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.predictors.views import Views, predict_views
from ca_seg.vocabulary import Vocabulary


def with_resolution(backbone: Backbone, resolution: int) -> Backbone:
    """The same backbone, its weights shared, with another resolution (pixels of the short side)."""
    other = copy.copy(backbone)
    other.card = backbone.card.with_resolution(resolution)
    return other


class MultiViewPredictor:
    """The mean of several views of each image. Every vocabulary records them anew: their recordings are not kept."""

    needs_ground_truth = False

    def __init__(self, backbone: Backbone, config: ReadoutConfig, views: Views) -> None:
        self.backbone, self.config, self.views = backbone, config, views

    def settings(self) -> dict[str, Any]:
        """How the maps are read out, for results.json."""
        return self.config.resolved(self.backbone)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> MultiViewPrediction:
        return MultiViewPrediction(self, images, tuple(seeds))


@dataclass(frozen=True)
class MultiViewPrediction:
    """Images [B, 3, H, W] and their seeds."""

    predictor: MultiViewPredictor
    images: torch.Tensor
    seeds: tuple[int, ...]

    def select(self, image: int) -> MultiViewPrediction:
        rows = slice(image, image + 1)
        return replace(self, images=self.images[rows], seeds=self.seeds[rows])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w]; of windows at the images' own size, of scales at the working size."""
        backbone, views = self.predictor.backbone, self.predictor.views
        card = backbone.card

        def predict(view: torch.Tensor) -> torch.Tensor:
            sized = backbone
            if views.window is None:  # the view already has the size at which it is to be recorded
                sized = with_resolution(backbone, min(view.shape[-2:]))
            return self.predictor.config.record(sized, view, self.seeds).maps(vocabulary).cpu()

        images = self.images
        if views.window is None:
            size = working_size(*images.shape[-2:], card.resolution, card.multiple)
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return predict_views(predict, images, replace(views, multiple=card.multiple))
