"""Methods by name in an evaluation: those of this part, beside backbones of the zoo and methods that need the dataset.

rollout, dino ...             real weights
concept-attention ...         a method that takes a backbone reads the evaluated one
mini, photo, random-maps ...  ca_seg/predictors/registry.py
"""

from __future__ import annotations

from collections.abc import Sequence

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.errors import UnknownName
from ca_seg.methods.card import MethodCard
from ca_seg.methods.foreground import check_one_class
from ca_seg.methods.open import method
from ca_seg.methods.registry import MODULES, find_method, list_methods
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.registry import METHODS, MethodContext, open_method
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.vocabulary import Vocabulary


def check_compared(names: Sequence[str], vocabulary: Vocabulary) -> None:
    """Before any weights are read: are these methods, and do they see the words of the dataset?

    Raises:
        UnknownName: for a name that is neither a method nor a backbone, and for words of no word table
        UserError: for a class-agnostic method and several classes
    """
    backbones = list_backbones()
    for name in names:
        if name in backbones:
            BackboneSettings(backbone=name).check_words(vocabulary.concepts)
        elif name in MODULES:
            check_card(find_method(name), vocabulary)
        elif name not in METHODS:
            raise UnknownName("method", name, (*backbones, *list_methods()))


def check_card(card: MethodCard, vocabulary: Vocabulary) -> None:
    """Raises UserError for several classes of a method that is class-agnostic by its card."""
    if card.words == "none":
        check_one_class(vocabulary, card.name)


def open_compared(name: str, context: MethodContext, loaded: Backbone | None = None) -> Predictor:
    """The predictor of a method, or of a backbone of the zoo at its card's settings.

    Args:
        name: as in `check_compared`
        context: the evaluated backbone's settings, the dataset, the device
        loaded: the evaluated backbone, where it is loaded already
    """
    if name not in MODULES:
        return open_method(name, context)
    if find_method(name).takes != "backbone":
        return method(name, device=context.device).predictor
    backbone = context.model.load(context.device, loaded)
    return method(name, backbone=backbone, device=context.device).predictor


def gives_probabilities(name: str) -> bool:
    """Whether maps of a compared method are probabilities, so that calibration can be measured."""
    return name not in MODULES or find_method(name).probabilities
