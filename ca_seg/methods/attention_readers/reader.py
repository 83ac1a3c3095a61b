"""Readings of a backbone as methods: concept attention, and the readers in `ca_seg/concept/readers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.prompt import check_prompt
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.concept.choices import ALL, CAPTIONER, NO_PROMPT, PRESENT, PROMPT_READERS
from ca_seg.errors import UserError
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
        options=("resolution", "prompt", "captioner"),
        probabilities=True,
    )


class AttentionReader(ZeroShotPredictor):
    """Zero-shot maps of a backbone, read in one way, with the checks of a method."""

    def __init__(
        self, backbone: Backbone, config: ReadoutConfig, method: str, classes: Sequence[str] | None = None
    ) -> None:
        super().__init__(backbone, config, classes=classes)
        self.method = method

    def beside(self, evaluated: ReadoutConfig, classes: Sequence[str]) -> AttentionReader:
        """The same with the prompt of the evaluated backbone, where that has one and this reader can read it.

        Args:
            evaluated: how the evaluated backbone is read
            classes: of the dataset, for the prompt `present`
        """
        prompts = (ALL, PRESENT, CAPTIONER)
        if evaluated.prompt == NO_PROMPT or (self.config.reader in PROMPT_READERS and evaluated.prompt not in prompts):
            return self
        config = replace(self.config, prompt=evaluated.prompt, captioner=evaluated.captioner)
        return AttentionReader(self.backbone, config, self.method, classes)

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
        return super().predict(images, seeds, ground_truth)


def open_reader(card: MethodCard, inputs: MethodInputs, config: Callable[[str], ReadoutConfig]) -> AttentionReader:
    """The method of `card` on the backbone of the inputs; `config` gives its settings for a backbone's name.

    Raises UserError for a prompt that cannot be used, before a backbone is loaded.
    """
    if inputs.prompt is not None:
        check_prompt(inputs.prompt, inputs.captioner, ground_truth=False)
    elif inputs.captioner is not None:
        raise UserError("a captioner is given, and no prompt", fix="give prompt='captioner'")
    backbone = ready_backbone(inputs)
    settings = config(backbone.card.name)
    if inputs.prompt is not None:
        settings = replace(settings, prompt=inputs.prompt, captioner=inputs.captioner)
    return AttentionReader(backbone, settings, card.name)
