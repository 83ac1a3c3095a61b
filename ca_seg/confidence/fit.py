"""Fitting confidence on labelled pixels: the temperature first, then thresholds that give a wanted precision.

probabilities [n, K], ground truth [n] ──► T ──► probabilities at T ──► measure ──► threshold, or one per class
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ca_seg.confidence.calibration import NEVER
from ca_seg.confidence.measures import MEASURES
from ca_seg.confidence.pixels import apply_temperature_to_pixels, pixel_confidence
from ca_seg.confidence.precision import PrecisionCounts
from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.metrics.calibration import CalibrationError, fit_temperature

MAX_PIXELS_FOR_TEMPERATURE = 20_000  # enough for one number
MIN_PROBABILITY = 1e-12  # for the logarithm
CURVE_POINTS = 100


@dataclass(frozen=True)
class TargetPrecision:
    """The precision that labels shall have.

    Args:
        precision: fraction of correct pixels among those that are retained, above 0, up to 1
        measure: margin, entropy or max_probability
        per_class: fit one threshold per class instead of one for all
        min_pixels: pixels of the sample that a threshold must retain

    Raises:
        OutOfRange: for a precision or a number of pixels outside its range
        UnknownName: for another measure
    """

    precision: float
    measure: str = "margin"
    per_class: bool = False
    min_pixels: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.precision <= 1:
            raise OutOfRange(f"a precision of {self.precision:g}", allowed="above 0, up to 1")
        if self.min_pixels < 1:
            raise OutOfRange(f"min_pixels is {self.min_pixels}", allowed="1 or more")
        if self.measure not in MEASURES:
            raise UnknownName("measure of confidence", self.measure, MEASURES)


@dataclass(frozen=True)
class FittedConfidence:
    """Temperature and thresholds, and what they give on the sample that they were fitted on.

    Args:
        temperature: T
        thresholds: one for all classes, or one for each class name
        never: the classes that are never labelled (their threshold is NEVER), each with the reason
        figures: precision, coverage, calibration error and likelihood
        curves: (threshold, precision, coverage) at about 100 thresholds, "before" (T = 1) and "after" (T)
    """

    temperature: float
    thresholds: float | dict[str, float]
    never: dict[str, str]
    figures: dict[str, Any]
    curves: dict[str, list[tuple[float, float, float]]]


def fit_confidence(
    probabilities: np.ndarray,
    ground_truth: np.ndarray,
    classes: Sequence[str],
    target: TargetPrecision,
    *,
    temperature: float | None = None,
) -> FittedConfidence:
    """Fit the temperature, then the lowest thresholds at which the wanted precision is reached.

    The figures are those of this sample, so they are slightly better than on other images, most of all with one
    threshold per class.

    Args:
        probabilities: float [n, K], one row per pixel
        ground_truth: int [n], true classes, without void
        classes: the K class names
        target: the wanted precision
        temperature: a fixed temperature instead of a fitted one

    Returns:
        Temperature, thresholds and figures.

    Raises:
        OutOfRange: when no threshold gives the precision with `min_pixels` pixels (per class: for no class)
        UserError: when no temperature fits
    """
    temperature = sample_temperature(probabilities, ground_truth) if temperature is None else temperature
    prediction = probabilities.argmax(axis=1)
    correct = prediction == ground_truth
    counts: dict[str, PrecisionCounts] = {}
    figures: dict[str, Any] = {
        "pixels": len(ground_truth),
        "classes_seen": len(np.unique(ground_truth)),
        "accuracy": float(correct.mean()),
    }
    for when, value in (("before", 1.0), ("after", temperature)):
        confidence, highest, likelihood = read_confidence(probabilities, ground_truth, value, target.measure)
        counts[when] = PrecisionCounts()
        counts[when].update(confidence, correct)
        error = CalibrationError()
        error.update(torch.from_numpy(highest), torch.from_numpy(prediction), torch.from_numpy(ground_truth))
        figures[f"ece_{when}"], figures[f"nll_{when}"] = float(error.compute()), likelihood
    never: dict[str, str] = {}
    thresholds: float | dict[str, float]
    if target.per_class:
        thresholds, never = _class_thresholds(confidence, prediction, correct, classes, target)
        if len(never) == len(classes):
            raise OutOfRange(
                f"no class reaches a precision of {target.precision:g} with {target.min_pixels} pixels or more",
                fix="ask for a lower precision, or give a larger sample",
            )
        bound = np.array([thresholds[name] for name in classes])[prediction]
    else:
        thresholds = counts["after"].threshold(target.precision)
        bound = np.full(len(confidence), thresholds)
    retained = confidence.astype(np.float64) >= bound
    if retained.sum() < target.min_pixels:
        raise OutOfRange(
            f"only {int(retained.sum())} pixels of the sample reach a precision of {target.precision:g}",
            allowed=f"{target.min_pixels} or more",
            fix="ask for a lower precision, or give a larger sample",
        )
    figures |= {
        "precision": float(correct[retained].mean()),
        "coverage": float(retained.mean()),
        "precision_wished": target.precision,
        "classes_never_labelled": len(never),
    }
    curves = {when: curve_points(count) for when, count in counts.items()}
    return FittedConfidence(temperature, thresholds, never, figures, curves)


def sample_temperature(probabilities: np.ndarray, ground_truth: np.ndarray) -> float:
    """The temperature with the smallest negative log-likelihood, on up to 20,000 evenly spaced pixels."""
    count = min(MAX_PIXELS_FOR_TEMPERATURE, len(ground_truth))
    indices = np.unique(np.linspace(0, len(ground_truth) - 1, count).round().astype(np.int64))
    logits = np.log(np.maximum(probabilities[indices].astype(np.float64), MIN_PROBABILITY))
    return fit_temperature(torch.from_numpy(logits), torch.from_numpy(ground_truth[indices].astype(np.int64)))


def read_confidence(
    probabilities: np.ndarray, ground_truth: np.ndarray, temperature: float, measure: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """The confidence of pixels at a temperature.

    Args:
        probabilities: float [n, K]
        ground_truth: int [n], true classes
        temperature: T
        measure: margin, entropy or max_probability

    Returns:
        The confidence float32 [n], the largest probability [n], and the mean negative log-likelihood of the true class.
    """
    at_temperature = probabilities.T
    if temperature != 1:
        at_temperature = apply_temperature_to_pixels(at_temperature, temperature)
    true = np.take_along_axis(at_temperature, ground_truth[None], axis=0)[0].astype(np.float64)
    likelihood = float(-np.log(np.maximum(true, MIN_PROBABILITY)).mean())
    return pixel_confidence(at_temperature, measure), at_temperature.max(axis=0), likelihood


def curve_points(counts: PrecisionCounts) -> list[tuple[float, float, float]]:
    """About 100 points of threshold, precision and coverage, up to the highest threshold that retains a pixel."""
    step = max(1, PrecisionCounts.STEPS // CURVE_POINTS)
    points = zip(*(part[::step].tolist() for part in counts.curve()), strict=True)
    return [(threshold, precision, coverage) for threshold, precision, coverage in points if coverage > 0]


def _class_thresholds(
    confidence: np.ndarray,
    prediction: np.ndarray,
    correct: np.ndarray,
    classes: Sequence[str],
    target: TargetPrecision,
) -> tuple[dict[str, float], dict[str, str]]:
    """Thresholds by class name, and the reason for each class that has none."""
    thresholds: dict[str, float] = {}
    never: dict[str, str] = {}
    for index, name in enumerate(classes):
        predicted = prediction == index
        thresholds[name] = NEVER
        if predicted.sum() < target.min_pixels:
            never[name] = f"only {int(predicted.sum())} pixels of the sample have this label"
            continue
        counts = PrecisionCounts()
        counts.update(confidence[predicted], correct[predicted])
        try:
            threshold = counts.threshold(target.precision)
        except OutOfRange:
            never[name] = f"the highest precision is {np.nanmax(counts.curve()[1]):.3f}"
            continue
        retained = int((confidence[predicted].astype(np.float64) >= threshold).sum())
        if retained < target.min_pixels:
            never[name] = f"only {retained} pixels are above the threshold"
        else:
            thresholds[name] = threshold
    return thresholds, never
