"""How good labels are, against the ground truth, as a rising threshold retains fewer and more confident pixels.

    precision  fraction of the retained pixels that is correct
    coverage   fraction of the pixels (without void) that is retained
    mIoU       of the retained pixels, over the classes that are left in their ground truth or labels

For any number of images in constant memory: 1,024 steps of confidence for precision and coverage, 20 confusion matrices
for mIoU.
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
class QualityPoint:
    """The labels at one threshold."""

    threshold: float
    coverage: float
    precision: float
    miou: float
    classes: int  # classes that are left


class LabelQuality:
    """The quality of labels by confidence threshold, accumulated over images.

    Args:
        class_count: K
        temperature: of the class probabilities
        measure: margin, entropy or max_probability
        thresholds: float [K], the thresholds by class that `at_thresholds` reports; None: 0
    """

    def __init__(
        self,
        class_count: int,
        *,
        temperature: float = 1.0,
        measure: str = "margin",
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self.class_count, self.temperature, self.measure = class_count, temperature, measure
        self.thresholds = np.zeros(class_count) if thresholds is None else np.asarray(thresholds, np.float64)
        self.counts, self.calibration = PrecisionCounts(), CalibrationError()
        self._by_level = np.zeros((LEVELS, class_count, class_count), np.int64)  # confusion matrices
        self._at_thresholds = np.zeros((class_count, class_count), np.int64)

    def update(self, probabilities: np.ndarray, ground_truth: np.ndarray) -> None:
        """Add pixels.

        Args:
            probabilities: float [n, K]
            ground_truth: int [n], true classes, without void
        """
        confidence, highest, _ = read_confidence(probabilities, ground_truth, self.temperature, self.measure)
        prediction = probabilities.argmax(axis=1)
        self.counts.update(confidence, prediction == ground_truth)
        self.calibration.update(torch.from_numpy(highest), torch.from_numpy(prediction), torch.from_numpy(ground_truth))
        pairs = ground_truth * self.class_count + prediction
        levels = np.minimum((confidence.astype(np.float64) * LEVELS).astype(np.int64), LEVELS - 1)
        for level in np.unique(levels):
            self._by_level[level] += self._confusion(pairs[levels == level])
        self._at_thresholds += self._confusion(pairs[confidence.astype(np.float64) >= self.thresholds[prediction]])

    def points(self) -> Iterator[QualityPoint]:
        """At thresholds of 0, 1/20, 2/20 ... as long as any pixel is retained."""
        retained = self._by_level[::-1].cumsum(axis=0)[::-1]
        for level, matrix in enumerate(retained):
            if matrix.any():
                yield self._point(level / LEVELS, matrix)

    def at_thresholds(self) -> QualityPoint:
        """At the thresholds by class; the point's own `threshold` is their mean."""
        return self._point(float(self.thresholds.mean()), self._at_thresholds)

    def figures(self) -> dict[str, Any]:
        """All pixels and those above the thresholds, for a table; fractions are 0..1."""
        all_pixels, retained = next(self.points()), self.at_thresholds()
        return {
            "temperature": self.temperature,
            "measure": self.measure,
            "ece": float(self.calibration.compute()),
            "accuracy": all_pixels.precision,
            "miou": all_pixels.miou,
            "classes": all_pixels.classes,
            "kept_precision": retained.precision,
            "kept_coverage": retained.coverage,
            "kept_miou": retained.miou,
            "kept_classes": retained.classes,
        }

    def curve(self) -> list[tuple[float, float]]:
        """(coverage, precision) from all pixels to the most confident ones."""
        _, precision, coverage = self.counts.curve()
        return [(c, p) for c, p in zip(coverage.tolist(), precision.tolist(), strict=True) if c > 0]

    def _confusion(self, pairs: np.ndarray) -> np.ndarray:
        return np.bincount(pairs, minlength=self.class_count**2).reshape(self.class_count, self.class_count)

    def _point(self, threshold: float, matrix: np.ndarray) -> QualityPoint:
        total, counts = int(matrix.sum()), torch.from_numpy(matrix)
        return QualityPoint(
            threshold,
            total / max(1, int(self._by_level.sum())),
            float(np.trace(matrix) / total) if total else float("nan"),
            float(miou(counts)) if total else float("nan"),
            int((~class_iou(counts).isnan()).sum()),
        )
