"""Methods by name in an evaluation: those of this part, beside backbones of the zoo and methods that need the dataset.

rollout, dino ...             real weights
concept-attention ...         a method that takes a backbone reads the evaluated one
mini, photo, random-maps ...  ca_seg/predictors/registry.py
"""

from __future__ import annotations

from collections.abc import Sequence

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.concept.choices import PRESENT
from ca_seg.errors import UnknownName, UserError
from ca_seg.methods.attention_readers.reader import AttentionReader
from ca_seg.methods.card import MethodCard
from ca_seg.methods.class_names import imagenet_classes
from ca_seg.methods.foreground import BACKGROUND, background_index, check_one_class
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
        UserError: for a class-agnostic method and several classes, and for words that are no class of ImageNet-1k,
            where the method's real weights know no others
    """
    backbones = list_backbones()
    for name in names:
        if name in backbones:
            BackboneSettings(backbone=name).check_words(vocabulary.concepts)
        elif name in MODULES:
            check_card(find_method(name), vocabulary)
        elif name not in METHODS:
            raise UnknownName("method", name, (*backbones, *list_methods()))


def check_compared_objects(names: Sequence[str], words: Sequence[str], background_words: Sequence[str]) -> None:
    """As `check_compared`, where an image is asked one of `words` against the background.

    Raises:
        UserError: as there, and for a method that needs the classes of the dataset
    """
    for name in names:
        if name in METHODS and METHODS[name].uses_dataset:
            raise UserError(f"{name!r} needs the classes of the dataset", fix="compare it in `ca-seg eval`")
        if name in MODULES and find_method(name).words == "none":
            continue
        check_compared([name], every_object(words, background_words, any_words=sees_any_word(name)))


def every_object(words: Sequence[str], background_words: Sequence[str], *, any_words: bool) -> Vocabulary:
    """Everything that a method is asked in a protocol of one object against the background, each word once."""
    asked = (*words, *(background_words if any_words else (BACKGROUND,)))
    return Vocabulary.from_names(list({word.strip().casefold(): word for word in asked}.values()))


def check_card(card: MethodCard, vocabulary: Vocabulary) -> None:
    """Raises UserError for several classes of a class-agnostic method, and for words that are no class of a network."""
    if card.words == "none":
        check_one_class(vocabulary, card.name)
    elif card.class_list == "imagenet-1k":
        imagenet_classes().indices(vocabulary, background_index(vocabulary))


def open_compared(name: str, context: MethodContext, loaded: Backbone | None = None) -> Predictor:
    """The predictor of a method, or of a backbone of the zoo at its card's settings.

    A method that reads the evaluated backbone gives it the same prompt.

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
    reader = method(name, backbone=backbone, device=context.device).predictor
    assert isinstance(reader, AttentionReader)
    return reader.beside(context.model, context.dataset.class_list.names)


def reads_ground_truth(name: str, model: BackboneSettings) -> bool:
    """Whether a compared method is given the prompt `present` of the evaluated backbone."""
    return model.prompt == PRESENT and name in MODULES and find_method(name).takes == "backbone"


def sees_any_word(name: str) -> bool:
    """Whether a compared method can be asked background words; the others are asked "background"."""
    return name not in MODULES or find_method(name).words == "free"


def gives_probabilities(name: str) -> bool:
    """Whether maps of a compared method are probabilities, so that calibration can be measured."""
    return name not in MODULES or find_method(name).probabilities
