"""Readings of a backbone as methods: concept attention, and the readers in `ca_seg/concept/readers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.methods.card import MethodCard
from ca_seg.methods.image_size import check_image_size
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.ready_backbone import ready_backbone
from ca_seg.predictors.prompted import PromptedPrediction
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.vocabulary import Vocabulary


def reader_card(name: str, summary: str, paper: str) -> MethodCard:
    """The card of a reading."""
    return MethodCard(
        name=name,
        summary=summary,
        paper=paper,
        kind="diffusion transformer",
        words="free",
        takes="backbone",
        options=("resolution",),
        probabilities=True,
    )


class AttentionReader(ZeroShotPredictor):
    """Zero-shot maps of a backbone, read in one way, with the checks of a method."""

    def __init__(self, backbone: Backbone, config: ReadoutConfig, method: str) -> None:
        super().__init__(backbone, config)
        self.method = method

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UnknownName for words that the backbone's word table does not have."""
        self.backbone.unseen(vocabulary.concepts)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Readout | PromptedPrediction:
        check_image_size(images, self.method)
        return super().predict(images, seeds)


def open_reader(card: MethodCard, inputs: MethodInputs, config: Callable[[str], ReadoutConfig]) -> AttentionReader:
    """The method of `card` on the backbone of the inputs; `config` gives its settings for a backbone's name."""
    backbone = ready_backbone(inputs)
    return AttentionReader(backbone, config(backbone.card.name), card.name)
