"""Steps between maps and decision, by name and in order: each is off unless it is named.

maps [1, K, h, w] ──► absence ──► attention ──► pamr ──► decision
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ca_seg.backbones.readout import Readout
from ca_seg.errors import UnknownName, UserError
from ca_seg.predictors.predictor import Prediction, Refine
from ca_seg.refine.absence import present_classes, without_absent
from ca_seg.refine.attention import propagate
from ca_seg.refine.background import background_by_threshold
from ca_seg.refine.guided_filter import guided_filter
from ca_seg.refine.pamr import pamr
from ca_seg.refine.superpixels import superpixel_vote


@dataclass
class Refinement:
    """Which steps, and their settings. The settings are to be fixed before a run that is reported.

    Args:
        steps: any of absence, attention, guided-filter, pamr, superpixels, background, in the order of running
        absence_relative: a class stays when its best score reaches this share of the strongest class's best
        attention_layer: the prediction layer whose image self-attention spreads the maps; None: the last prediction
        attention_power: how often
        pamr_iterations: steps of pixel-adaptive refinement
        guided_radius: cells of the score grid
        guided_epsilon: variance of colour that counts as flat
        superpixel_segments: superpixels of an image
        background: the class that unsure pixels become
        background_threshold: below this share a pixel is unsure
    """

    steps: list[str] = field(default_factory=list)
    absence_relative: float = 0.5
    attention_layer: int | None = None
    attention_power: int = 1
    pamr_iterations: int = 10
    guided_radius: int = 2
    guided_epsilon: float = 1e-3
    superpixel_segments: int = 200
    background: str | None = None
    background_threshold: float = 0.5


def refine_by(settings: Refinement, classes: tuple[str, ...]) -> Refine | None:
    """The steps as one function, or None for no step. Raises UnknownName, UserError.

    The background threshold works where the background class is among those offered.
    """
    made = [_step(name, settings, classes) for name in settings.steps]
    if not made:
        return None

    def refine(maps: torch.Tensor, image: torch.Tensor, prediction: Prediction) -> torch.Tensor:
        for step in made:
            maps = step(maps, image, prediction)
        return maps

    return refine


def sees_pixels(settings: Refinement) -> bool:
    """Whether a step looks at the image in its own size, and gives maps of that size."""
    return any(name in ("guided-filter", "pamr", "superpixels") for name in settings.steps)


def _step(name: str, own: Refinement, classes: tuple[str, ...]) -> Refine:
    steps: dict[str, Callable[..., torch.Tensor]] = {
        "absence": lambda maps, image, prediction: without_absent(
            maps, present_classes(maps, relative=own.absence_relative)
        ),
        "attention": lambda maps, image, prediction: _by_attention(maps, prediction, own),
        "guided-filter": lambda maps, image, prediction: guided_filter(
            maps, image, radius=own.guided_radius, epsilon=own.guided_epsilon
        ),
        "pamr": lambda maps, image, prediction: pamr(maps, image, iterations=own.pamr_iterations),
        "superpixels": lambda maps, image, prediction: superpixel_vote(maps, image, segments=own.superpixel_segments),
        "background": lambda maps, image, prediction: _background(maps, own, classes),
    }
    if name not in steps:
        raise UnknownName("refinement", name, steps)
    if name == "background" and (own.background is None or own.background not in classes):
        raise UserError(f"the background {own.background!r} is no class", allowed=", ".join(classes[:20]))
    return steps[name]


def _by_attention(maps: torch.Tensor, prediction: Prediction, own: Refinement) -> torch.Tensor:
    if not isinstance(prediction, Readout) or prediction.recording.streams[0].query is None:
        raise UserError("refinement by attention needs a recording with queries", allowed="a backbone of the zoo")
    stream = prediction.recording.streams[-1 if own.attention_layer is None else own.attention_layer]
    assert stream.query is not None
    return propagate(maps, stream.query[:1].float(), stream.key[:1].float(), power=own.attention_power)


def _background(maps: torch.Tensor, own: Refinement, classes: tuple[str, ...]) -> torch.Tensor:
    index = classes.index(str(own.background))
    if maps.shape[1] != len(classes):  # oracle-presence: the classes that are there were offered, and are known
        return maps
    return background_by_threshold(maps, index, own.background_threshold)
