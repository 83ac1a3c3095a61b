"""Which confidence threshold gives a wanted precision, from any number of pixels in constant memory."""

from __future__ import annotations

import numpy as np

from ca_seg.errors import BadMask, OutOfRange


class PrecisionCounts:
    """Numbers of correct and of wrong pixels by confidence, in 1,024 steps.

    The steps are exact in any float type with 11 bits of precision or more. For a threshold of each class use one
    object per class. Counts of several processes are added with `+`.

    Example:
        >>> counts = PrecisionCounts()
        >>> counts.update(confidence, prediction == ground_truth)
        >>> counts.threshold(0.95)
    """

    STEPS = 1024

    def __init__(self) -> None:
        self.counts = np.zeros((2, self.STEPS), np.int64)  # wrong, correct

    def update(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add pixels; leave void pixels out.

        Args:
            confidence: float, any shape, 0..1
            correct: bool, same shape: whether the predicted class is the true one

        Raises:
            BadMask: when the shapes differ or `correct` is not bool
            OutOfRange: for a confidence outside 0..1
        """
        if confidence.shape != correct.shape or correct.dtype != bool:
            raise BadMask(
                f"confidence of shape {confidence.shape} with correct pixels {correct.dtype} {correct.shape}",
                allowed="bool, of the same shape",
            )
        if confidence.size == 0:
            return
        low, high = float(confidence.min()), float(confidence.max())
        if not (low >= 0 and high <= 1):
            raise OutOfRange(f"confidence from {low:.6g} to {high:.6g}", allowed="0 to 1")
        step = np.minimum((confidence.astype(np.float64) * self.STEPS).astype(np.int64), self.STEPS - 1)
        counts = np.bincount((correct.astype(np.int64) * self.STEPS + step).ravel(), minlength=2 * self.STEPS)
        self.counts += counts.reshape(2, self.STEPS)

    def __add__(self, other: PrecisionCounts) -> PrecisionCounts:
        total = PrecisionCounts()
        total.counts = self.counts + other.counts
        return total

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision and coverage at every threshold.

        Returns:
            Thresholds (rising), the precision of the pixels at or above each (NaN where there is none), and the
            fraction of all pixels that these are; float64 [1024] each.
        """
        wrong, correct = self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        retained = wrong + correct
        precision = np.divide(correct, retained, out=np.full(self.STEPS, np.nan), where=retained > 0)
        return np.arange(self.STEPS) / self.STEPS, precision, retained / max(1, int(retained[0]))

    def threshold(self, precision: float) -> float:
        """The lowest threshold (it retains the most pixels) at which the precision is reached.

        Args:
            precision: wanted fraction of correct pixels among those at or above the threshold, 0..1

        Returns:
            A multiple of 1/1024.

        Raises:
            OutOfRange: for a precision outside 0..1, or one that no threshold reaches
        """
        if not 0 <= precision <= 1:
            raise OutOfRange(f"a precision of {precision}", allowed="0 to 1")
        thresholds, reached, _ = self.curve()
        enough = np.flatnonzero(reached >= precision)  # a comparison with NaN is False
        if not len(enough):
            best = "there are no pixels" if np.isnan(reached).all() else f"the highest is {np.nanmax(reached):.4f}"
            raise OutOfRange(f"no threshold gives a precision of {precision}: {best}", fix="ask for a lower precision")
        return float(thresholds[enough[0]])
