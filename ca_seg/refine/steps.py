"""Refinement steps between class maps and mask, by name and in order.

maps [1, K, h, w] ──► absence ──► attention ──► pamr ──► mask

Where no steps are named, those of the backbone's card run; `none` alone means no step.

To add a step, write its function in a file of its own and add an entry to STEPS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.readout import Readout
from ca_seg.errors import UnknownName, UserError
from ca_seg.predictors.predictor import Prediction, Refine
from ca_seg.predictors.prompted import PromptedPrediction
from ca_seg.refine.absence import present_classes, without_absent
from ca_seg.refine.attention import propagate
from ca_seg.refine.background import background_by_threshold
from ca_seg.refine.balance import LEAST, POWER, balanced
from ca_seg.refine.boxes_and_points import NEGATIVE, PARTS, POSITIVE, SMALLEST, check_prompt_options
from ca_seg.refine.guided_filter import guided_filter
from ca_seg.refine.pamr import coarse_pamr, pamr
from ca_seg.refine.promptable import PromptableSegmenter, check_weights, loaded
from ca_seg.refine.sam import AGREEMENT, check_agreement, sam_refine
from ca_seg.refine.superpixels import superpixel_vote

NONE = "none"  # in place of steps: nothing is refined
MAX_NAMES = 20  # class names in an error message
SAM_OPTIONS = ("sam", "sam_positive", "sam_negative", "sam_smallest", "sam_parts", "sam_agreement")


@dataclass
class Refinement:
    """Which steps, and their settings. Fix them before a run whose figures are reported.

    Args:
        steps: any of absence, balance, attention, guided-filter, pamr, coarse-pamr, superpixels, sam, background, in
            the order of running; none: no step; by default those of the backbone's card
        absence_relative: a class stays when its best score reaches this fraction of the strongest class's best score
        balance_power: how much a class with little of the image is raised, 0 (not) to 1, where the classes offered
            are known to be in it: those that it shows, or that a user named, not all of a dataset
        balance_least: added to a class's mean, so that a class that is nowhere is not raised without bound
        attention_layer: the prediction layer whose image self-attention spreads the maps; None: the last prediction
        attention_power: how often the maps are spread
        pamr_iterations: steps of pixel-adaptive refinement, at both sizes
        coarse_pamr_side: pixels of the image's short side for coarse-pamr
        guided_radius: cells of the score grid
        guided_epsilon: variance of colour that counts as flat
        superpixel_segments: superpixels of an image
        sam: weights of SAM, SAM 2 or SAM 3 for the step sam: a repository of the hub or a folder
        sam_positive: points on each part of a class
        sam_negative: points beside the class, inside the part's box
        sam_smallest: the smallest part that is asked for, as a fraction of the image
        sam_parts: the most parts of one class
        sam_agreement: the lowest intersection over union of a mask with its part; other masks are not used
        background: the class that pixels with low foreground probabilities become
        background_threshold: the lowest foreground probability that is not background
    """

    steps: list[str] | None = None
    absence_relative: float = 0.5
    balance_power: float = POWER
    balance_least: float = LEAST
    attention_layer: int | None = None
    attention_power: int = 1
    pamr_iterations: int = 10
    coarse_pamr_side: int = 96
    guided_radius: int = 2
    guided_epsilon: float = 1e-3
    superpixel_segments: int = 200
    sam: str | None = None
    sam_positive: int = POSITIVE
    sam_negative: int = NEGATIVE
    sam_smallest: float = SMALLEST
    sam_parts: int = PARTS
    sam_agreement: float = AGREEMENT
    background: str | None = None
    background_threshold: float = 0.5

    def of_backbone(self, name: str, *, head: bool = False) -> Refinement:
        """With steps that are named: the user's, or else those of the backbone's card; none for a trained head."""
        steps = self.steps
        if steps is None:
            steps = [] if head else list(find_card(name).refine)
        return replace(self, steps=[] if steps == [NONE] else list(steps))

    def resolved(self) -> dict[str, Any]:
        """The steps, and the options that they read, as JSON values."""
        options = {name for step in self._known() for name in step.options}
        return {"refine": list(self.steps or [])} | {f"refine.{name}": getattr(self, name) for name in sorted(options)}

    @property
    def needs_queries(self) -> bool:
        """Whether a step needs a recording that keeps the queries of the attention."""
        return any(step.needs_queries for step in self._known())

    @property
    def full_size(self) -> bool:
        """Whether a step looks at the image in its original size, and gives maps of that size."""
        return any(step.full_size for step in self._known())

    @property
    def keeps_probabilities(self) -> bool:
        """Whether maps that are probabilities are so after all steps."""
        return all(step.keeps_probabilities for step in self._known())

    def _known(self) -> list[Step]:
        return [STEPS[name] for name in self.steps or () if name in STEPS]


@dataclass(frozen=True)
class StepInput:
    """What a step may use of one image."""

    maps: Tensor  # [1, K, h, w]
    image: Tensor  # [1, 3, H, W] in 0..1
    prediction: Prediction
    settings: Refinement
    classes: Sequence[str]  # all classes of the dataset
    segmenter: PromptableSegmenter | None = None  # a ready one for the step sam
    known: bool = False  # the words are known to be in the image


@dataclass(frozen=True)
class Step:
    """The maps [1, K, h, w] that a step gives, and what it needs."""

    apply: Callable[[StepInput], Tensor]
    full_size: bool = False  # it looks at the image, and gives maps in the image's size
    needs_queries: bool = False  # it needs the queries of the recorded attention
    keeps_probabilities: bool = False  # from probabilities it gives probabilities
    options: tuple[str, ...] = ()  # of Refinement that it reads


def _absence(step: StepInput) -> Tensor:
    return without_absent(step.maps, present_classes(step.maps, relative=step.settings.absence_relative))


def _balance(step: StepInput) -> Tensor:
    if not step.known:
        return step.maps
    return balanced(step.maps, power=step.settings.balance_power, least=step.settings.balance_least)


def _attention(step: StepInput) -> Tensor:
    if isinstance(step.prediction, PromptedPrediction):
        raise UserError(
            "refinement by attention needs one recording, and a prompt of words makes one for each vocabulary",
            allowed="prompt: none, or a text",
        )
    if not isinstance(step.prediction, Readout) or step.prediction.recording.streams[0].query is None:
        raise UserError("refinement by attention needs a recording with queries", allowed="a backbone of the zoo")
    layer = step.settings.attention_layer
    stream = step.prediction.recording.streams[-1 if layer is None else layer]
    query, key = (stream.part(name)[:1].float() for name in ("query", "key"))
    return propagate(step.maps, query, key, power=step.settings.attention_power)


def _guided_filter(step: StepInput) -> Tensor:
    settings = step.settings
    return guided_filter(step.maps, step.image, radius=settings.guided_radius, epsilon=settings.guided_epsilon)


def _pamr(step: StepInput) -> Tensor:
    return pamr(step.maps, step.image, iterations=step.settings.pamr_iterations)


def _coarse_pamr(step: StepInput) -> Tensor:
    settings = step.settings
    return coarse_pamr(step.maps, step.image, side=settings.coarse_pamr_side, iterations=settings.pamr_iterations)


def _sam(step: StepInput) -> Tensor:
    settings = step.settings
    segmenter = step.segmenter or loaded(str(settings.sam), str(step.maps.device))
    return sam_refine(
        step.maps,
        step.image.to(step.maps.device),
        segmenter,
        positive=settings.sam_positive,
        negative=settings.sam_negative,
        smallest=settings.sam_smallest,
        parts=settings.sam_parts,
        agreement=settings.sam_agreement,
    )


def _background(step: StepInput) -> Tensor:
    if step.maps.shape[1] != len(step.classes):  # oracle presence: only the classes of the image are offered
        return step.maps
    index = list(step.classes).index(str(step.settings.background))
    return background_by_threshold(step.maps, index, step.settings.background_threshold)


STEPS = {
    "absence": Step(_absence, options=("absence_relative",)),
    "balance": Step(_balance, keeps_probabilities=True, options=("balance_power", "balance_least")),
    "attention": Step(_attention, needs_queries=True, options=("attention_layer", "attention_power")),
    "guided-filter": Step(_guided_filter, full_size=True, options=("guided_radius", "guided_epsilon")),
    "pamr": Step(_pamr, full_size=True, keeps_probabilities=True, options=("pamr_iterations",)),
    "coarse-pamr": Step(_coarse_pamr, keeps_probabilities=True, options=("coarse_pamr_side", "pamr_iterations")),
    "superpixels": Step(
        lambda x: superpixel_vote(x.maps, x.image, segments=x.settings.superpixel_segments),
        full_size=True,
        options=("superpixel_segments",),
    ),
    "sam": Step(_sam, full_size=True, options=SAM_OPTIONS),
    "background": Step(_background, options=("background", "background_threshold")),
}


def list_refinements() -> list[str]:
    """The names of all refinement steps.

    Example:
        >>> list_refinements()
        ['absence', 'balance', 'attention', 'guided-filter', 'pamr', 'coarse-pamr', 'superpixels', 'sam', 'background']
    """
    return list(STEPS)


def refinement(
    settings: Refinement, classes: Sequence[str], *, segmenter: PromptableSegmenter | None = None
) -> Refine | None:
    """The steps of the settings as one function.

    Args:
        settings: which steps; those of a card are not looked up here (`Refinement.of_backbone`)
        classes: all classes of the dataset; the background step works only where all of them are offered
        segmenter: a ready one for the step sam, in place of the weights that the settings name

    Returns:
        A function of maps, image and prediction that gives better maps; None without a step.

    Raises:
        UnknownName: for a step that does not exist
        UserError: for a background that is not one of the classes, and for weights that are no promptable segmenter
        WeightsUnavailable: for a promptable segmenter that cannot be read
    """
    steps = settings.steps or []
    for name in steps:
        if name not in STEPS:
            raise UnknownName("refinement", name, [*STEPS, NONE])
        if name == "background" and settings.background not in classes:
            raise UserError(
                f"the background {settings.background!r} is not a class", allowed=", ".join(classes[:MAX_NAMES])
            )
        if name == "sam":
            _check_sam(settings, segmenter)
    if not steps:
        return None

    def refine(maps: Tensor, image: Tensor, prediction: Prediction, *, known: bool = False) -> Tensor:
        for name in steps:
            maps = STEPS[name].apply(StepInput(maps, image, prediction, settings, classes, segmenter, known))
        return maps

    return refine


def _check_sam(settings: Refinement, segmenter: PromptableSegmenter | None) -> None:
    """What can be known before anything is loaded. Raises UserError, OutOfRange, WeightsUnavailable."""
    check_prompt_options(
        positive=settings.sam_positive,
        negative=settings.sam_negative,
        smallest=settings.sam_smallest,
        parts=settings.sam_parts,
    )
    check_agreement(settings.sam_agreement)
    if segmenter is None:
        check_weights(settings.sam)
