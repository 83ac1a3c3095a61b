"""The words and the loaded backbone of a segmentation: one recording of an image, maps, and the decision.

several words     each pixel gets the word with the highest probability
one word          it is compared with background words: "this against the rest"
background words  all of them form one class, "background"
a threshold       a pixel becomes background where no word reaches this probability
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.data.inputs import NamedImage
from ca_seg.data.seeds import image_seed
from ca_seg.errors import CorruptWeights, OutOfRange, UserError
from ca_seg.jobs.segmentation import Segmentation, check_colours
from ca_seg.jobs.words import check_words
from ca_seg.predictors.predictor import Prediction
from ca_seg.predictors.settings import PHOTOGRAPHS, BackboneSettings
from ca_seg.refine.promptable import PromptableSegmenter
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.seed_range import check_seed
from ca_seg.vocabulary import BACKGROUND, REST, Vocabulary, Words, as_vocabulary, check_single_words

MAX_CLASSES = 254  # masks have 8 bits


@dataclass(frozen=True)
class SegmentSettings(BackboneSettings):
    """Options of `segment`.

    Args:
        background: words for everything else; together they are one class, "background"
        threshold: 0 to 1; a pixel where no word reaches this probability becomes background
        refine: steps that sharpen the mask (see `ca_seg.list_refinements()`), or none; by default those of the card
        refinement: the settings of these steps
        colors: a colour for each class, by name or code: {cat: red}
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one
        seed: of the noise
    """

    backbone: str = PHOTOGRAPHS
    background: tuple[str, ...] | None = None
    threshold: float | None = None
    refine: tuple[str, ...] | None = None
    refinement: Refinement = field(default_factory=Refinement)
    colors: dict[str, str] | None = None
    device: str | None = None
    seed: int = 0

    def refinement_steps(self, backbone: str | None = None) -> Refinement:
        """The steps between maps and mask: those named, or those of a backbone's card (default: its own)."""
        named = self.refinement.steps if self.refine is None else list(self.refine)
        return replace(self.refinement, steps=named).of_backbone(backbone or self.backbone)


class Segmenter:
    """A loaded backbone and the words it looks for; call it with one image after another.

    Args:
        classes: as in `segment`
        settings: as in `segment`
        backbone: a loaded one, in place of the settings'
        sam: a ready promptable segmenter for the step sam
        warn: whether a `WordsWarning` names the words that training never taught

    Raises UserError for options and words that cannot be used, before the backbone is loaded where possible.
    """

    def __init__(
        self,
        classes: Words,
        settings: SegmentSettings,
        *,
        backbone: Backbone | None = None,
        sam: PromptableSegmenter | None = None,
        warn: bool = True,
    ) -> None:
        settings = settings.with_preset()
        self.settings = settings
        check_seed(settings.seed)
        if settings.threshold is not None:
            _check_threshold(settings.threshold)
        vocabulary = as_vocabulary(classes, template=settings.template, synonyms=settings.synonyms)
        self.words = vocabulary.classes
        self.rest: tuple[str, ...] = ()  # the words that stand for everything else
        if settings.background is not None:
            check_single_words(settings.background)
            self.rest = settings.background
        elif len(vocabulary.classes) == 1:
            self.rest = REST
        text = settings.text(backbone)
        self.vocabulary = self._with_rest(vocabulary, None if text is None else text.table)
        names = self.vocabulary.classes
        self.background = self.vocabulary.background
        self.classes = names
        if settings.threshold is not None and self.background is None:
            if BACKGROUND in names:
                raise UserError("'background' is a word, and a threshold decides it", allowed="one of the two")
            self.background, self.classes = len(names), (*names, BACKGROUND)
        if len(self.classes) > MAX_CLASSES:
            raise UserError(f"{len(self.classes)} classes", allowed=f"1 to {MAX_CLASSES}, for masks have 8 bits")
        self.colours = None if settings.colors is None else check_colours(settings.colors, self.classes)
        steps = settings.refinement_steps(None if backbone is None else backbone.card.name)
        self.refine = refinement(steps, names, segmenter=sam)
        asked = vocabulary if settings.background is None else self.vocabulary  # without background words of ours
        if backbone is not None:
            settings.check_loaded(backbone)
        self.unseen = check_words(settings, asked.concepts, backbone, warn=warn)
        self.backbone = settings.load(default_device(settings.device)) if backbone is None else backbone
        self.backbone.text.concepts(self.vocabulary.concepts, self.backbone.card.phrase_pooling)  # encoded once
        self.presence = settings.presence(self.backbone, self.vocabulary)
        words = [self.vocabulary] if self.presence is None else self.presence.asked
        self.predictor = settings.predictor(self.backbone, queries=steps.needs_queries, words=words)

    @property
    def decision(self) -> str:
        """How a pixel becomes background, in one line; "" where there is no background."""
        parts = []
        if self.rest:
            parts.append(f"compared with the background words {', '.join(self.rest)}")
        if self.settings.threshold is not None:
            parts.append(f"background below a probability of {self.settings.threshold:g}")
        return "; ".join(parts)

    @torch.no_grad()
    def __call__(self, image: NamedImage) -> Segmentation:
        """The segmentation of one image. Raises CorruptWeights, which names the image, for maps that are not finite."""
        seed = image_seed(self.settings.seed, image.image_id)
        return self.segmentation(image, self.predictor.predict(image.pixels[None], [seed]))

    @torch.no_grad()
    def segmentation(self, image: NamedImage, prediction: Prediction) -> Segmentation:
        """The segmentation of an image that is already recorded, with these settings. Raises as a call does."""
        try:
            if self.presence is None:
                maps, presence = prediction.maps(self.vocabulary), None
            else:
                maps, by_class = self.presence.maps(prediction)
                presence = self.presence.of_image(by_class[0])
        except CorruptWeights as problem:
            raise CorruptWeights(f"{image.path or image.image_id}: {problem.what}", fix=problem.fix) from problem
        if self.refine is not None:
            known = self.vocabulary.background is None  # whoever names a word expects it, but not the words of the rest
            maps = self.refine(maps, image.pixels[None], prediction, known=known)
        return Segmentation(
            image.pixels.mul(255).round_().byte().permute(1, 2, 0).contiguous().numpy(),
            maps,
            self.classes,
            self.background,
            self.settings.threshold,
            image.image_id,
            self.backbone.card.name,
            self.colours,
            self.unseen,
            presence,
            file_name=image.file_name,
        )

    def each(self, images: Iterable[NamedImage], skipped: Callable[[UserError], None]) -> Iterator[Segmentation]:
        """Image after image; why one cannot be used is handed to `skipped`, and the others go on."""
        for image in images:
            try:
                yield self(image)
            except UserError as problem:
                skipped(problem)

    def _with_rest(self, vocabulary: Vocabulary, table: WordTable | None) -> Vocabulary:
        """The words, and the background words as one more class."""
        if not self.rest:
            return vocabulary
        taken = {phrase.casefold() for phrase in vocabulary.concepts}
        template = self.settings.template
        rest = tuple(template.replace("{}", word) for word in self.rest)
        rest = tuple(phrase for phrase in rest if phrase.casefold() not in taken)
        if not rest:
            raise UserError(f"the background words {', '.join(self.rest)} are words too", allowed="one of the two")
        if self.settings.background is None and table is not None:
            rest = tuple(phrase for phrase in rest if table.knows(phrase))
            self.rest = tuple(word for word in self.rest if template.replace("{}", word) in rest)
        if BACKGROUND in vocabulary.classes:
            raise UserError(
                "'background' is one of the words, and background words are given", allowed="one of the two"
            )
        classes, phrases = (*vocabulary.classes, BACKGROUND), (*vocabulary.phrases, rest)
        return Vocabulary(classes, phrases, background=len(classes) - 1)


def _check_threshold(threshold: Any) -> None:
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise OutOfRange(f"a threshold of {threshold!r}", allowed="0 to 1")


def default_device(device: str | None) -> str:
    """The device that is named, else cuda where there is one, else cpu."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
