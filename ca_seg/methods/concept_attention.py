"""Concept attention on a backbone of the zoo, at its card's settings: the method of this project's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ca_seg.backbones.readout import Readout
from ca_seg.methods.card import MethodCard
from ca_seg.methods.image_size import check_image_size
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.ready_backbone import ready_backbone
from ca_seg.predictors.prompted import PromptedPrediction
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.vocabulary import Vocabulary

CARD = MethodCard(
    name="concept-attention",
    summary="Attention outputs of concept tokens that pass through a diffusion transformer beside its prompt.",
    paper="Helbling et al. 2025, ConceptAttention (arXiv 2502.04320)",
    kind="diffusion transformer",
    words="free",
    takes="backbone",
    options=("resolution",),
    probabilities=True,
)


class ConceptAttention(ZeroShotPredictor):
    """Zero-shot maps of a backbone, with the checks of a method."""

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UnknownName for words that the backbone's word table does not have."""
        self.backbone.unseen(vocabulary.concepts)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Readout | PromptedPrediction:
        check_image_size(images, CARD.name)
        return super().predict(images, seeds)


def open_predictor(inputs: MethodInputs) -> ConceptAttention:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return ConceptAttention(ready_backbone(inputs))
