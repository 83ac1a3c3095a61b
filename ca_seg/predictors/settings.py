"""The options that choose a method: which backbone, how it is read out, or which trained head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.generate import last_layer_of
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.profiles import find_profile
from ca_seg.backbones.presets import preset_options
from ca_seg.backbones.prompt import check_prompt
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.backbones.text.word_list import shipped_text
from ca_seg.concept.choices import ALL, CAPTIONER, NO_PROMPT, PRESENT
from ca_seg.errors import UserError
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.predictors.multi_view import MultiViewPredictor
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.presence import WordPresence
from ca_seg.predictors.trained_head import HeadPredictor
from ca_seg.predictors.views import Views
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.vocabulary import Vocabulary

Model = TypeVar("Model", bound="BackboneSettings")
Method = TypeVar("Method", bound="MethodSettings")
PHOTOGRAPHS = "photo"  # the backbone for a user's own images, where none is named
BESIDE_A_HEAD = ("backbone", "weights", "gguf", "precision", "offload")  # options that a head does not fix


@dataclass(frozen=True)
class BackboneSettings(ReadoutConfig):
    """A backbone and how its maps are read out (the fields of `ReadoutConfig`).

    Args:
        backbone: a name from `ca-seg zoo list`
        weights: a local folder with the weights, in the diffusers layout
        gguf: a GGUF file of the transformer
        precision: fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8
        offload: none, or group (the transformer in main memory, block after block brought to the device)
        resolution: pixels of the short side
        window: read overlapping windows of this many pixels, each at the backbone's resolution, and take the mean
        stride: pixels from window to window; by default half a window
        scales: read the image at these multiples of the backbone's resolution, and take the mean
        phrase_pooling: which token of a phrase represents it: first, mean or last
        template: a sentence to put each phrase into, such as "a photo of a {}"
        synonyms: further phrases for a class
        preset: published settings: paper, reference or recommended (the card's); options that are given win
    """

    backbone: str = PHOTOGRAPHS
    weights: str | None = None
    gguf: str | None = None
    precision: str | None = None
    offload: str = "none"
    resolution: int | None = None
    window: int | None = None
    stride: int | None = None
    scales: tuple[float, ...] | None = None
    phrase_pooling: str | None = None
    template: str = "{}"
    synonyms: dict[str, list[str]] | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.views()  # it raises OutOfRange

    def with_preset(self: Model) -> Model:
        """The settings with the options of the preset filled in where they are at their defaults.

        Raises UnknownName for an unknown preset, UserError for one that the backbone does not have.
        """
        if self.preset is None:
            return self
        default = {f.name: f.default for f in fields(self)}
        options = preset_options(self.preset, self.backbone)
        return replace(self, **{name: v for name, v in options.items() if getattr(self, name) == default[name]})

    def views(self) -> Views | None:
        """Windows and scales; None: the whole image once. Raises OutOfRange for options that leave no view."""
        if (self.window, self.stride, self.scales) == (None, None, None):
            return None
        return Views(scales=(1.0,) if self.scales is None else self.scales, window=self.window, stride=self.stride)

    def card(self) -> Card:
        """The card of the backbone that `load` gives. Raises UnknownName, OutOfRange."""
        card = find_card(self.backbone).with_resolution(self.resolution).with_pooling(self.phrase_pooling)
        return card if self.weights is None and self.gguf is None else card.of_other_weights()

    def reading(self, loaded: Backbone | None = None) -> dict[str, Any]:
        """What maps depend on beside the image, the words and the precision, with the card's values, as JSON values.

        The weights are named where they are other than the card's; of a loaded backbone they are not known.
        """
        views = {"window": self.window, "stride": self.stride, "scales": self.scales and list(self.scales)}
        if loaded is not None:
            return self.resolved_by(loaded.card) | views
        return self.resolved_by(self.card()) | views | {"weights": self.weights, "gguf": self.gguf}

    def load(self, device: str, loaded: Backbone | None = None, *, whole: bool = False) -> Backbone:
        """The backbone on the device: the loaded one where there is one.

        Raises what `load_backbone` and `check_loaded` raise.

        `whole` reads all blocks, as a backbone needs that generates.
        """
        if loaded is not None:
            self.check_loaded(loaded)
            return loaded.to(device)
        last_layer = max(self.layers) if self.layers else None
        return load_backbone(
            self.backbone,
            weights=self.weights,
            gguf=self.gguf,
            device=device,
            precision=self.precision,
            offload=self.offload,
            resolution=self.resolution,
            phrase_pooling=self.phrase_pooling,
            last_layer=last_layer_of(self.card()) if whole else last_layer,
        )

    def check_loaded(self, loaded: Backbone) -> None:
        """Raises UserError for options of loading that a loaded backbone contradicts, as far as it can be seen."""
        card, precision = loaded.card, self.precision and find_profile(self.precision)
        taught = card != card.of_other_weights()
        for name, value, differs in (
            ("resolution", self.resolution, self.resolution not in (None, card.resolution)),
            ("phrase_pooling", self.phrase_pooling, self.phrase_pooling not in (None, card.phrase_pooling)),
            ("precision", self.precision, precision and precision.dtype != loaded.dtype),
            ("weights", self.weights, self.weights is not None and taught),
            ("gguf", self.gguf, self.gguf is not None and taught),
        ):
            if differs:
                what = f"model.{name} is {value!r}, and the loaded backbone {card.name} was loaded otherwise"
                raise UserError(what, fix=f"leave model.{name} out, or give it to load_backbone")

    def text(self, loaded: Backbone | None = None) -> WordTableText | None:
        """The word table of the backbone, read without its weights; None for one that takes any words."""
        if loaded is not None:
            return loaded.text if isinstance(loaded.text, WordTableText) else None
        return shipped_text(self.card())

    def check_words(
        self, phrases: Sequence[str], loaded: Backbone | None = None, *, ground_truth: bool = False
    ) -> dict[str, str] | None:
        """The phrases that training never taught, as `Backbone.unseen` gives them, before any weights are read.

        The prompt is checked too; `ground_truth` says whether the job has it, for the prompt `present`.

        Raises:
            UnknownName: for words that the backbone's word table does not have, all of them at once
            UserError: for a prompt that cannot be used
        """
        check_prompt(self.prompt, self.captioner, ground_truth=ground_truth)
        text = self.text(loaded)
        if text is None:
            return None
        text.table.check(phrases)
        if self.prompt not in (NO_PROMPT, ALL, PRESENT, CAPTIONER):
            text.prompt([self.prompt])
        return text.unseen(phrases)

    def presence(self, backbone: Backbone, vocabulary: Vocabulary) -> WordPresence | None:
        """Whether words are in an image; None where the card has no threshold, or maps are read in another way."""
        return WordPresence.of(backbone, vocabulary) if self._reads_as_on_card else None

    def measured_presence(self) -> dict[str, Any]:
        """`presence` of the card; empty where maps are read in another way than it was measured."""
        return self.card().presence if self._reads_as_on_card else {}

    @property
    def _reads_as_on_card(self) -> bool:
        return not self.plain() and self.views() is None

    def predictor(
        self,
        backbone: Backbone,
        *,
        queries: bool = False,
        classes: Sequence[str] | None = None,
        words: Sequence[Vocabulary] | None = None,
    ) -> Predictor:
        """The predictor of zero-shot maps with these settings, for the loaded backbone.

        Args:
            backbone: loaded
            queries: keep the image queries in recordings
            classes: in evaluations the dataset's classes, for the prompt `present`
            words: all that predictions will be asked, if that is known (see `ZeroShotPredictor`)
        """
        views = self.views()
        if views is not None:
            return MultiViewPredictor(backbone, self, views, classes=classes, words=words)
        return ZeroShotPredictor(backbone, self, queries=queries, classes=classes, words=words)


def choose_backbone(
    model: Model, backbone: str | Backbone | BackboneSettings | None, head: str | Path | TrainedHead | None = None
) -> tuple[Model, Backbone | None]:
    """What users give as a backbone, beside the settings that it replaces.

    Args:
        model: the settings of a job
        backbone: a name of the zoo, a loaded backbone, other settings, or None
        head: a head, or where it is, in place of the one that the settings name

    Returns:
        The settings to use, with their preset filled in, and the loaded backbone where one was given.

    Raises:
        UserError: for something else, for a preset that the backbone does not have, and for a head that cannot be read
    """
    kind = type(model)
    if isinstance(backbone, kind):
        model, backbone = backbone, None
    if backbone is None and isinstance(model, MethodSettings):
        model = model.with_backbone_of(head)
    if backbone is None:
        return model.with_preset(), None
    if isinstance(backbone, Backbone):
        return replace(model, backbone=backbone.card.name).with_preset(), backbone
    if isinstance(backbone, str):
        return replace(model, backbone=backbone).with_preset(), None
    if isinstance(backbone, BackboneSettings):
        named = {field.name: getattr(backbone, field.name) for field in fields(BackboneSettings)}
        return kind(**named).with_preset(), None
    allowed = f"a name of the zoo, a loaded backbone, or {kind.__name__}"
    raise UserError(f"the backbone is {backbone!r}", allowed=allowed)


@dataclass(frozen=True)
class MethodSettings(BackboneSettings):
    """A backbone's zero-shot maps, or a head trained on its features.

    Args:
        head: a folder that train.py wrote (OUT/head), one of checkpoints/heads, or a repository of the hub; it is read
            on its own backbone where none is named
    """

    head: str | None = None

    def with_backbone_of(self: Method, head: str | Path | TrainedHead | None) -> Method:
        """The settings on the backbone of a head where none is named, because a head knows its own.

        `head` is a head or where it is; None: the one that `self.head` names, if any. Raises what `load_head` raises.
        """
        chosen = self.head if head is None else head
        if chosen is None or self.backbone != PHOTOGRAPHS:
            return self
        loaded = chosen if isinstance(chosen, TrainedHead) else load_head(chosen)
        return replace(self, backbone=loaded.backbone)

    def check(self, head: TrainedHead | None) -> None:
        """Raises UserError for options that are not those that the head was trained with; None: without a head."""
        if head is None:
            return
        default = {f.name: f.default for f in fields(BackboneSettings) if f.name not in BESIDE_A_HEAD}
        trained = default | vars(ReadoutConfig.from_plain(head.readout))
        for name in ("resolution", "phrase_pooling"):
            fixed = getattr(head, name)  # None in heads of former versions, which leave it open
            trained[name] = getattr(self, name) if fixed is None else fixed
        for name, unset in default.items():
            given = getattr(self, name)
            if given not in (unset, trained[name]):
                raise UserError(
                    f"model.{name} is {given!r}, and the head was trained with {_of_head(trained[name])}",
                    fix=f"leave model.{name} out: a head is read as it was trained",
                )

    def predictor_of(
        self,
        backbone: Backbone,
        head: TrainedHead | None,
        *,
        queries: bool = False,
        classes: Sequence[str] | None = None,
        words: Sequence[Vocabulary] | None = None,
    ) -> Predictor:
        """The predictor of the head on the backbone; without a head, of the backbone's zero-shot maps."""
        if head is not None:
            return HeadPredictor(head, backbone)
        return self.predictor(backbone, queries=queries, classes=classes, words=words)


def _of_head(value: Any) -> str:
    """A value that a head fixes, in a message."""
    return "none, or the card's" if value is None else repr(value)
