"""A backbone that sees an image in overlapping windows or at several scales; the maps are averaged.

windows    each window is an image by itself, resized to the backbone's resolution
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
    """The same backbone with another resolution (pixels of the short side); the weights are shared."""
    other = copy.copy(backbone)
    other.card = backbone.card.with_resolution(resolution)
    return other


class MultiViewPredictor:
    """The mean maps of several views of each image.

    The recordings are not stored, so every vocabulary records the images again.

    Args:
        backbone: the frozen model
        config: how the maps of each view are read out
        views: windows or scales
    """

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
        """Class maps [B, K, h, w]: of windows at the images' size, of scales at the backbone's working size."""
        backbone, views = self.predictor.backbone, self.predictor.views
        card = backbone.card

        def predict(view: torch.Tensor) -> torch.Tensor:
            sized = backbone
            if views.window is None:  # the view has the size at which it is recorded
                sized = with_resolution(backbone, min(view.shape[-2:]))
            return self.predictor.config.record(sized, view, self.seeds).maps(vocabulary).cpu()

        images = self.images
        if views.window is None:
            size = working_size(images.shape[-2], images.shape[-1], card.resolution, card.multiple)
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return predict_views(predict, images, replace(views, multiple=card.multiple))
