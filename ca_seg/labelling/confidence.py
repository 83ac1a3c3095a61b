"""How the confidence of a label is measured in one run, and below which confidence a pixel is ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.backbones.loading.card import find_card
from ca_seg.confidence.calibration import NEVER, read_calibration, vocabulary_fingerprint
from ca_seg.confidence.measures import AGREEMENT, MEASURES
from ca_seg.confidence.temperature import check_temperature
from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.settings import LabelSettings
from ca_seg.predictors.settings import MethodSettings
from ca_seg.vocabulary import Vocabulary

NO_MEASURE = "none"
CALIBRATE = "calibrate again"
CONFIDENCE = (*MEASURES, AGREEMENT, NO_MEASURE)


@dataclass(frozen=True)
class ConfidenceConfig:
    """The measure of confidence, and what is done with it."""

    measure: str | None  # None: not measured
    temperature: float
    threshold: float | dict[str, float] | None  # None: every pixel is labelled

    def thresholds(self, classes: Sequence[str]) -> float | np.ndarray | None:
        """The threshold as `ignore_below` takes it: one number, or float64 [K]; 0 for a class that has none."""
        if not isinstance(self.threshold, dict):
            return self.threshold
        return np.array([self.threshold.get(name, 0.0) for name in classes])


def confidence_config(settings: LabelSettings, vocabulary: Vocabulary) -> ConfidenceConfig:
    """The confidence that the settings, or their calibration, ask for.

    Raises:
        UnknownName: for a measure, or a class with a threshold, that does not exist
        UserError: for numbers outside their range, options that exclude each other, a calibration of another backbone,
            other words or another readout, or beside a head, and maps that have no such confidence
    """
    if settings.calibration is None:
        config = _from_settings(settings, vocabulary)
    elif (settings.confidence, settings.temperature, settings.threshold) == (None, None, None):
        config = _from_calibration(Path(settings.calibration), settings, vocabulary)
    else:
        raise UserError("calibration is given beside confidence, temperature or threshold", allowed="one or the other")
    _check_maps(settings.model, config)
    return config


def _from_settings(settings: LabelSettings, vocabulary: Vocabulary) -> ConfidenceConfig:
    measure, threshold = settings.confidence or "margin", settings.threshold
    if measure not in CONFIDENCE:
        raise UnknownName("measure of confidence", measure, CONFIDENCE)
    temperature = 1.0 if settings.temperature is None else float(settings.temperature)
    check_temperature(temperature)
    _check_threshold(threshold, vocabulary.classes)
    if measure == NO_MEASURE and threshold is not None:
        raise UserError("threshold is given, and confidence is none", fix="give confidence=margin")
    if measure == AGREEMENT and temperature != 1:
        raise UserError("confidence=agreement has no temperature", fix="leave temperature out, or take another measure")
    if isinstance(threshold, dict):
        threshold = {name: float(value) for name, value in threshold.items()}
    elif threshold is not None:
        threshold = float(threshold)
    return ConfidenceConfig(None if measure == NO_MEASURE else measure, temperature, threshold)


def _from_calibration(file: Path, settings: LabelSettings, vocabulary: Vocabulary) -> ConfidenceConfig:
    calibration, model = read_calibration(file), settings.model
    if model.head is not None:
        fix = "give confidence, temperature and threshold instead"
        raise UserError(f"{file} was made for zero-shot maps, and model.head is given", fix=fix)
    words = vocabulary_fingerprint(vocabulary.classes, vocabulary.phrases)
    for what, fitted, current in (
        ("backbone", calibration.backbone, model.backbone),
        ("vocabulary", calibration.vocabulary, words),
    ):
        if fitted != current and what == "vocabulary" and calibration.words:
            raise UserError(
                f"{file} was made for other words: {_differences(calibration.words, vocabulary)}", fix=CALIBRATE
            )
        if fitted != current:
            raise UserError(f"{file} was made for the {what} {fitted!r}, this is {current!r}", fix=CALIBRATE)
    changes = calibration.changes(model.reading() | settings.refine.of_backbone(model.backbone).resolved())
    if changes:
        parts = [f"{name} was {fitted}, is now {current}" for name, (fitted, current) in changes.items()]
        raise UserError(f"{file} was made with another readout: {_first(parts)}", fix=CALIBRATE)
    thresholds = calibration.thresholds
    if isinstance(thresholds, Mapping):
        thresholds = dict(thresholds)
    _check_threshold(thresholds, vocabulary.classes)
    return ConfidenceConfig(calibration.measure, calibration.temperature, thresholds)


def _differences(fitted: Mapping[str, Sequence[str]], vocabulary: Vocabulary) -> str:
    """Up to three classes whose phrases differ, or their order."""
    current = dict(zip(vocabulary.classes, map(list, vocabulary.phrases), strict=True))
    parts = [f"{name} ({', '.join(fitted[name])}) is missing" for name in fitted if name not in current]
    parts += [f"{name} ({', '.join(current[name])}) is new" for name in current if name not in fitted]
    both = [name for name in current if name in fitted and list(fitted[name]) != current[name]]
    parts += [f"{name} was {', '.join(fitted[name])}, is now {', '.join(current[name])}" for name in both]
    return _first(parts) if parts else "their order differs"


def _first(parts: Sequence[str]) -> str:
    """Up to three of the parts, and how many there are beside them."""
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more


def _check_threshold(threshold: Any, classes: Sequence[str]) -> None:
    if threshold is None:
        return
    by_class = threshold if isinstance(threshold, dict) else {"every class": threshold}
    for name, value in by_class.items():
        if isinstance(threshold, dict) and name not in classes:
            raise UnknownName("class in threshold", name, classes)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NEVER:
            raise UserError(f"the threshold of {name} is {value!r}", allowed=f"0 to {NEVER}")


def _check_maps(model: MethodSettings, config: ConfidenceConfig) -> None:
    """Raises UserError for maps of which the confidence cannot be measured."""
    if config.measure is not None and not model.softmax:
        raise UserError("raw products have no confidence", fix="give model.softmax=true, or confidence=none")
    if config.measure != AGREEMENT:
        return
    for option, is_given in (("model.head", model.head), ("model.window or model.scales", model.views())):
        if is_given:
            raise UserError(f"confidence=agreement is given with {option}", fix="take another measure of confidence")
    card = find_card(model.backbone)
    if (model.noise_samples or card.noise_samples) * model.timesteps_read < 2:
        raise UserError(
            "confidence=agreement compares several noised copies of an image, and there is one",
            fix="give model.noise_samples=4, or model.timesteps=[0.1, 0.2, 0.3]",
        )
