"""Concept attention as a predictor: a frozen backbone records images once, and any vocabulary can then be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout, ReadoutConfig


class ZeroShotPredictor:
    """Zero-shot class maps of a backbone.

    Args:
        backbone: the frozen model
        config: how its maps are read out; None: as its card says
        queries: keep the image queries in the recording, which refinement by self-attention needs
    """

    needs_ground_truth = False

    def __init__(self, backbone: Backbone, config: ReadoutConfig | None = None, *, queries: bool = False) -> None:
        self.backbone, self.config, self.queries = backbone, config or ReadoutConfig(), queries

    def settings(self) -> dict[str, Any]:
        """How the maps are read out, for results.json."""
        return self.config.resolved(self.backbone)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Readout:
        return self.config.record(self.backbone, images, seeds, queries=self.queries)
