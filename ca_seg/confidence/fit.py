"""Fitting confidence on labelled pixels: first the temperature of the shares, then the thresholds on what it gives.

shares [n, K], ground truth [n] ──► T ──► tempered shares ──► measure ──► threshold, or one for each class
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ca_seg.confidence.calibration import NEVER, temper
from ca_seg.confidence.numpy_measures import MEASURES
from ca_seg.confidence.precision import PrecisionCounts
from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.metrics.calibration import CalibrationError, fit_temperature

FOR_TEMPERATURE = 20_000  # pixels: one number is soon known, and the fit is in float64
SMALLEST = 1e-12  # share, for the logarithm
CURVE = 100  # steps of the curve that is kept


@dataclass(frozen=True)
class TargetPrecision:
    """What the labels shall be like.

    Raises OutOfRange for a precision outside 0..1, UnknownName for a measure that there is not.
    """

    precision: float  # share of the kept pixels that is right
    measure: str = "margin"
    per_class: bool = False
    least_pixels: int = 100  # of the sample that a threshold must keep

    def __post_init__(self) -> None:
        if not 0 < self.precision <= 1:
            raise OutOfRange(f"a precision of {self.precision:g}", allowed="above 0, up to 1")
        if self.least_pixels < 1:
            raise OutOfRange(f"thresholds from {self.least_pixels} pixels", allowed="1 or more")
        if self.measure not in MEASURES:
            raise UnknownName("measure of confidence", self.measure, MEASURES)


@dataclass(frozen=True)
class CalibrationResult:
    temperature: float
    thresholds: float | dict[str, float]
    never: dict[str, str]  # classes that are never labelled (their threshold is NEVER), and why
    figures: dict[str, Any]
    curves: dict[str, list[tuple[float, float, float]]]  # threshold, precision, coverage, at T = 1 and at T


def fit_confidence(
    shares: np.ndarray,
    ground_truth: np.ndarray,
    classes: Sequence[str],
    target: TargetPrecision,
    *,
    temperature: float | None = None,
) -> CalibrationResult:
    """Shares float [n, K] and true classes int [n] without void, to the temperature and the thresholds of `wish`.

    A `temperature` that is given is not fitted.

    Figures are those of this very sample, and so a little better than those of other images: most with a threshold
    of each class. Raises OutOfRange when no threshold gives the precision to `least_pixels` pixels (with a threshold of
    each class: for none of them), and UserError when no temperature fits.
    """
    temperature = sample_temperature(shares, ground_truth) if temperature is None else temperature
    guess, right = shares.argmax(axis=1), shares.argmax(axis=1) == ground_truth
    counts: dict[str, PrecisionCounts] = {}
    figures: dict[str, Any] = {
        "pixels": len(ground_truth),
        "classes_seen": len(np.unique(ground_truth)),
        "accuracy": float(right.mean()),
    }
    for when, own in (("before", 1.0), ("after", temperature)):
        sure, winner, nll = read_confidence(shares, ground_truth, own, target.measure)
        counts[when] = PrecisionCounts()
        counts[when].update(sure, right)
        error = CalibrationError()
        error.update(torch.from_numpy(winner), torch.from_numpy(guess), torch.from_numpy(ground_truth))
        figures[f"ece_{when}"], figures[f"nll_{when}"] = float(error.compute()), nll
    never: dict[str, str] = {}
    thresholds: float | dict[str, float]
    if target.per_class:
        thresholds, never = _each(sure, guess, right, classes, target)
        least = np.array([thresholds[name] for name in classes])[guess]
        if (least == NEVER).all():
            raise OutOfRange(
                f"no class reaches a precision of {target.precision:g} at {target.least_pixels} pixels or more",
                fix="wish for less, or give a larger sample",
            )
    else:
        thresholds = counts["after"].threshold(target.precision)
        least = np.full(len(sure), thresholds)
    kept = sure.astype(np.float64) >= least
    if kept.sum() < target.least_pixels:
        raise OutOfRange(
            f"a precision of {target.precision:g} is reached by {int(kept.sum())} pixels of the sample alone",
            allowed=f"{target.least_pixels} or more",
            fix="wish for less, or give a larger sample",
        )
    figures |= {
        "precision": float(right[kept].mean()),
        "coverage": float(kept.mean()),
        "precision_wished": target.precision,
        "classes_never_labelled": len(never),
    }
    curves = {when: curve_points(own) for when, own in counts.items()}
    return CalibrationResult(temperature, thresholds, never, figures, curves)


def sample_temperature(shares: np.ndarray, ground_truth: np.ndarray) -> float:
    """The temperature that is least surprised by the ground truth, on up to 20,000 pixels, evenly taken."""
    places = np.unique(
        np.linspace(0, len(ground_truth) - 1, min(FOR_TEMPERATURE, len(ground_truth))).round().astype(np.int64)
    )
    logits = np.log(np.maximum(shares[places].astype(np.float64), SMALLEST))
    return fit_temperature(torch.from_numpy(logits), torch.from_numpy(ground_truth[places].astype(np.int64)))


def read_confidence(
    shares: np.ndarray, ground_truth: np.ndarray, temperature: float, measure: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Of shares [n, K] at a temperature: the measure [n], the largest share [n], the mean -log share of the ground truth."""
    tempered = shares.T[:, :, None] if temperature == 1 else temper(shares.T[:, :, None], temperature)
    true = np.take_along_axis(tempered[..., 0], ground_truth[None], axis=0)[0].astype(np.float64)
    nll = float(-np.log(np.maximum(true, SMALLEST)).mean())
    return MEASURES[measure](tempered)[:, 0], tempered[..., 0].max(axis=0), nll


def curve_points(counts: PrecisionCounts) -> list[tuple[float, float, float]]:
    """About 100 points of the curve: threshold, precision and coverage, where anything is kept."""
    step = max(1, PrecisionCounts.STEPS // CURVE)
    points = zip(*(part[::step].tolist() for part in counts.curve()), strict=True)
    return [(threshold, precision, coverage) for threshold, precision, coverage in points if coverage > 0]


def _each(
    sure: np.ndarray, guess: np.ndarray, right: np.ndarray, classes: Sequence[str], target: TargetPrecision
) -> tuple[dict[str, float], dict[str, str]]:
    """Thresholds by class name, and why a class has none."""
    thresholds: dict[str, float] = {}
    never: dict[str, str] = {}
    for index, name in enumerate(classes):
        own = guess == index
        thresholds[name] = NEVER
        if own.sum() < target.least_pixels:
            never[name] = f"{int(own.sum())} pixels of the sample are labelled so"
            continue
        counts = PrecisionCounts()
        counts.update(sure[own], right[own])
        try:
            found = counts.threshold(target.precision)
        except OutOfRange:
            never[name] = f"at best {np.nanmax(counts.curve()[1]):.3f} is reached"
            continue
        kept = int((sure[own].astype(np.float64) >= found).sum())
        if kept < target.least_pixels:
            never[name] = f"only {kept} pixels would be kept"
        else:
            thresholds[name] = found
    return thresholds, never
