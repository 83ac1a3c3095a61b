"""The bare teacher: an ImageNet classifier that is applied at every position of its last feature map.

image ──► EfficientNet-Lite0, stride 32 ──► classifier at every position ──► probabilities of 1,000 classes [h, w]
                                                                                  │ a word has the sum of its classes
                                                                                  ▼
                                                                             class maps [K, h, w]

A word's classes are those that it covers in WordNet (`leaves.py`). What no offered word covers is divided equally among
the offered words that cover nothing, such as sky and grass: of several, the first wins. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ca_seg.backbones.images import resize_in
from ca_seg.features.efficientnet import EfficientNetLite0
from ca_seg.vocabulary import Vocabulary
from recipes.photo.encoder import class_probabilities
from recipes.photo_baselines.leaves import Leaves, lemma

STRIDE = 32
LAST_STAGE = 4


class BareTeacher:
    """A predictor of the classifier's maps.

    Args:
        leaves: the classes of each word
        resolution: pixels of the short side at which an image is read

    Raises:
        WeightsUnavailable: the package with the weights is not installed
    """

    needs_ground_truth = False

    def __init__(self, leaves: Leaves, resolution: int = 320) -> None:
        self.leaves, self.resolution = leaves, resolution
        self.network = EfficientNetLite0(resolution).network

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return {"network": EfficientNetLite0.name, "resolution": self.resolution, "stride": STRIDE}

    @torch.no_grad()
    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> TeacherPrediction:
        pixels = (resize_in(images, self.resolution, STRIDE) * 255 - 127) / 128  # as it was trained
        (last,) = self.network.forward_intermediates(pixels, indices=[LAST_STAGE], intermediates_only=True)
        return TeacherPrediction(self.leaves, class_probabilities(self.network, last))


@dataclass(frozen=True)
class TeacherPrediction:
    """Probabilities of the classes [B, h, w, 1000], and the classes of each word."""

    leaves: Leaves
    probabilities: torch.Tensor

    def select(self, image: int) -> TeacherPrediction:
        return replace(self, probabilities=self.probabilities[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w], with sum 1 over the K classes."""
        covers = torch.zeros(len(vocabulary.classes), self.probabilities.shape[-1])
        for row, phrases in zip(covers, vocabulary.phrases, strict=True):
            numbers = [n for phrase in phrases for n in self.leaves.get(lemma(phrase), ())]
            row[numbers] = 1
        maps = self.probabilities @ covers.T
        covers_nothing = covers.sum(dim=1) == 0
        if covers_nothing.any():
            rest = 1 - self.probabilities @ covers.amax(dim=0)
            maps[..., covers_nothing] = rest.clamp_min(0)[..., None] / covers_nothing.sum()
        return (maps / maps.sum(dim=-1, keepdim=True)).permute(0, 3, 1, 2)
