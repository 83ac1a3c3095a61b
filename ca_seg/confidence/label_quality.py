"""How good labels are, against the ground truth, as fewer and surer pixels are kept.

    precision  share of the kept pixels that is right
    coverage   share of the pixels (void aside) that is kept
    mIoU       of the kept pixels alone, over the classes that are left in their ground truth or labels

All for any number of images in fixed memory: 1,024 steps of confidence for the first two, 20 confusion matrices for
the third.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ca_seg.confidence.fit import read_confidence
from ca_seg.confidence.precision import PrecisionCounts
from ca_seg.metrics.calibration import CalibrationError
from ca_seg.metrics.confusion import class_iou, miou

LEVELS = 20


@dataclass(frozen=True)
class Point:
    """What is kept at one threshold."""

    threshold: float
    coverage: float
    precision: float
    miou: float
    classes: int  # that are left


class LabelQuality:
    """Of labels whose confidence is `measure` at a temperature; pixels below `thresholds` [K] are ignored."""

    def __init__(
        self,
        classes: int,
        *,
        temperature: float = 1.0,
        measure: str = "margin",
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self.classes, self.temperature, self.measure = classes, temperature, measure
        self.thresholds = np.zeros(classes) if thresholds is None else np.asarray(thresholds, np.float64)
        self.counts, self.calibration = PrecisionCounts(), CalibrationError()
        self._matrices = np.zeros((LEVELS, classes, classes), np.int64)  # of the pixels of each level of confidence
        self._kept = np.zeros((classes, classes), np.int64)

    def update(self, shares: np.ndarray, ground_truth: np.ndarray) -> None:
        """Add pixels: shares float [n, K], true classes int [n] without void."""
        sure, winner, _ = read_confidence(shares, ground_truth, self.temperature, self.measure)
        guess = shares.argmax(axis=1)
        self.counts.update(sure, guess == ground_truth)
        self.calibration.update(torch.from_numpy(winner), torch.from_numpy(guess), torch.from_numpy(ground_truth))
        pair = ground_truth * self.classes + guess
        level = np.minimum((sure.astype(np.float64) * LEVELS).astype(np.int64), LEVELS - 1)
        for own in np.unique(level):
            self._matrices[own] += self._matrix(pair[level == own])
        self._kept += self._matrix(pair[sure.astype(np.float64) >= self.thresholds[guess]])

    def _matrix(self, pair: np.ndarray) -> np.ndarray:
        return np.bincount(pair, minlength=self.classes**2).reshape(self.classes, self.classes)

    def points(self) -> Iterator[Point]:
        """At thresholds of 0, 1/20, 2/20 ... while anything is kept."""
        above = self._matrices[::-1].cumsum(axis=0)[::-1]
        for level, matrix in enumerate(above):
            if matrix.any():
                yield self._point(level / LEVELS, matrix)

    def kept(self) -> Point:
        """With the thresholds that were given; its own `threshold` is their mean."""
        return self._point(float(self.thresholds.mean()), self._kept)

    def _point(self, threshold: float, matrix: np.ndarray) -> Point:
        total, counted = int(matrix.sum()), torch.from_numpy(matrix)
        return Point(
            threshold,
            total / max(1, int(self._matrices.sum())),
            float(np.trace(matrix) / total) if total else float("nan"),
            float(miou(counted)) if total else float("nan"),
            int((~class_iou(counted).isnan()).sum()),
        )

    def figures(self) -> dict[str, Any]:
        """All 0..1, for a table."""
        every, kept = next(self.points()), self.kept()
        return {
            "temperature": self.temperature,
            "measure": self.measure,
            "ece": float(self.calibration.compute()),
            "accuracy": every.precision,
            "miou": every.miou,
            "classes": every.classes,
            "kept_precision": kept.precision,
            "kept_coverage": kept.coverage,
            "kept_miou": kept.miou,
            "kept_classes": kept.classes,
        }

    def curve(self) -> list[tuple[float, float]]:
        """(coverage, precision), from all pixels to the surest."""
        _, precision, coverage = self.counts.curve()
        return [(c, p) for c, p in zip(coverage.tolist(), precision.tolist(), strict=True) if c > 0]
