"""Relevance of a classifier's classes as a predictor: one map for each word that is a class of the network.

    words ──► outputs of the classifier ──► one run of the image, one map for each output ──► min-max, phrases pooled

With target="predicted" the class is the one that the network predicts for the image, as in the evaluations of the
papers. The word is then not looked at, so the method is class-agnostic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ca_seg.errors import UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.class_names import ClassNames, classes_of
from ca_seg.methods.foreground import background_index, min_max, with_background
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.method import WordPredictor
from ca_seg.methods.vit.network import Trace, VisionNetwork
from ca_seg.vocabulary import Vocabulary

Modules = Callable[[VisionNetwork], Sequence[nn.Module]]
Relevance = Callable[[Trace, Tensor], Tensor]  # a run and one class for each image [B], to maps [B, h, w]


@dataclass(frozen=True)
class ClassRelevance:
    """How relevance is computed.

    Args:
        relevance: maps of one class for each image
        modules: of the network, whose inputs and outputs `relevance` needs
        gradients: it needs the graph from the attention to the logits
        options: of the method, for results.json
    """

    relevance: Relevance
    modules: Sequence[nn.Module] = ()
    gradients: bool = True
    options: tuple[tuple[str, Any], ...] = ()


def open_relevance(
    card: MethodCard, network: VisionNetwork, inputs: MethodInputs, how: ClassRelevance
) -> WordPredictor:
    """The predictor of words, or of the predicted class. Raises UserError for a network without a classifier."""
    outputs = int(getattr(network.model, "num_classes", 0))
    if not outputs:
        raise UserError(
            f"{card.name} needs a classifier, and the network has no classes", allowed="num_classes above 0"
        )
    target = inputs.target or "word"
    if target not in ("word", "predicted"):
        raise UserError(f"target is {target!r}", allowed="word, predicted")
    settings = network.settings() | {"target": target} | dict(how.options)
    if target == "word":
        return RelevancePredictor(network, classes_of(outputs, inputs.class_names), how, settings)

    def of_the_prediction(images: Tensor) -> Tensor:
        trace = network.run(images, how.modules, gradients=how.gradients)
        return how.relevance(trace, trace.logits.argmax(dim=-1))

    return ForegroundPredictor(f"{card.name} of the predicted class", of_the_prediction, settings)


class RelevancePredictor:
    """The relevance of the classes that are asked, each scaled to 0..1 by itself."""

    needs_ground_truth = False

    def __init__(
        self, network: VisionNetwork, classes: ClassNames, how: ClassRelevance, options: dict[str, Any]
    ) -> None:
        self.network, self.classes, self.how, self.options = network, classes, how, options

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return self.options

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for words that are no class of the network."""
        self.outputs(vocabulary)

    def outputs(self, vocabulary: Vocabulary) -> list[list[int]]:
        """For each class but the background the outputs of its phrases."""
        return self.classes.indices(vocabulary, background_index(vocabulary))

    def predict(
        self,
        images: Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], Tensor] | None = None,
    ) -> RelevancePrediction:
        return RelevancePrediction(self, images)


@dataclass(frozen=True)
class RelevancePrediction:
    """Images [B, 3, H, W]; the network runs when maps are asked, for each vocabulary anew."""

    predictor: RelevancePredictor
    images: Tensor

    def select(self, image: int) -> RelevancePrediction:
        return RelevancePrediction(self.predictor, self.images[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> Tensor:
        """[B, K, h, w] in 0..1; of nothing but a background [B, 1, 1, 1]."""
        how = self.predictor.how
        outputs = self.predictor.outputs(vocabulary)
        if not outputs:
            return torch.zeros(len(self.images), 1, 1, 1)
        trace = self.predictor.network.run(self.images, how.modules, gradients=how.gradients)
        maps = [torch.stack([self._map(trace, index) for index in several]).amax(dim=0) for several in outputs]
        return with_background(torch.stack(maps, dim=1), vocabulary)

    def _map(self, trace: Trace, output: int) -> Tensor:
        targets = torch.full((len(self.images),), output, device=trace.logits.device)
        return min_max(self.predictor.how.relevance(trace, targets).detach())


def attention_gradients(trace: Trace, targets: Tensor, blocks: Sequence[int]) -> tuple[Tensor, ...]:
    """The gradients of the logits of `targets` [B] by the attention [B, heads, N, N] of some blocks."""
    with torch.inference_mode(False), torch.enable_grad():
        chosen = trace.logits.gather(1, targets[:, None].clone()).sum()
        return torch.autograd.grad(chosen, [trace.attention[block] for block in blocks], retain_graph=True)
