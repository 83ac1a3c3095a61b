"""Concept attention as a predictor: a frozen backbone records images once, and any vocabulary can then be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.concept.choices import PRESENT
from ca_seg.predictors.prompted import PromptedPrediction, present_names
from ca_seg.vocabulary import Vocabulary


class ZeroShotPredictor:
    """Zero-shot class maps of a backbone.

    Args:
        backbone: the frozen model
        config: how its maps are read out; None: as its card says
        queries: keep the image queries in the recording, which refinement by self-attention needs
        classes: the dataset's classes, for the prompt `present`
        words: all that predictions will be asked, if that is known: recordings then take much less memory
    """

    def __init__(
        self,
        backbone: Backbone,
        config: ReadoutConfig | None = None,
        *,
        queries: bool = False,
        classes: Sequence[str] | None = None,
        words: Sequence[Vocabulary] | None = None,
    ) -> None:
        self.backbone, self.config = backbone, config or ReadoutConfig()
        self.queries, self.classes, self.words = queries, classes, words
        self.needs_ground_truth = self.config.prompt == PRESENT

    def settings(self) -> dict[str, Any]:
        """How the maps are read out, for results.json."""
        return self.config.resolved(self.backbone)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Readout | PromptedPrediction:
        config = self.config
        if not config.records_words and not config.prompt_by_image:
            return config.record(self.backbone, images, seeds, queries=self.queries, words=self.words)
        present = present_names(config, self.classes, ground_truth, len(images))
        return PromptedPrediction(self.backbone, config, images, tuple(seeds), self.queries, present)
