"""A trained head as a predictor, scored by the same code and protocols as zero-shot maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.heads.trained import TrainedHead
from ca_seg.vocabulary import Vocabulary


class HeadPredictor:
    """`head` on the features of `backbone`. Raises CorruptWeights for another backbone than the head was trained on."""

    needs_ground_truth = False

    def __init__(self, head: TrainedHead, backbone: Backbone) -> None:
        self.source = head.features_of(backbone)
        self.head = head.to(backbone.device).eval()

    def settings(self) -> dict[str, Any]:
        """How the features are read out, for results.json."""
        return self.source.readout.resolved(self.source.backbone)

    @torch.no_grad()
    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> HeadPrediction:
        logits = self.head(self.source(images, seeds), (images.shape[-2], images.shape[-1]))
        return HeadPrediction(self.head, logits)


@dataclass(frozen=True)
class HeadPrediction:
    """Logits [B, K, H, W] of a head's K classes, at the images' size."""

    head: TrainedHead
    logits: torch.Tensor

    def select(self, image: int) -> HeadPrediction:
        return HeadPrediction(self.head, self.logits[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Probabilities [B, K, H, W] among the classes of `vocabulary`; the head's other classes are ignored."""
        return self.logits[:, self.head.class_indices(vocabulary.classes)].softmax(dim=1)
