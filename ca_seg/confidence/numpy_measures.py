"""How sure a label is at each pixel, what is left of it above a threshold, and which threshold to take.

Scores [K, H, W] are read as shares: at each pixel they are divided by their sum. All three measures are 1 where one
class has everything and 0 where all K have the same:

    margin      the largest share less the second
    entropy     1 - H / log K, with H = - sum p log p
    max_probability   (K * largest share - 1) / (K - 1)

With one class (K = 1) every pixel is sure (1); a pixel with no score at all is not (0).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr

from ca_seg.errors import BadMask, OutOfRange
from ca_seg.vocabulary import IGNORE_INDEX

ROWS = 64  # taken at a time, so that float64 copies of many classes stay small
Measure = Callable[[np.ndarray], np.ndarray]


def margin(scores: np.ndarray) -> np.ndarray:
    """Float [K, H, W], 0 or more, to float32 [H, W] of 0..1. Raises BadMask for negative or not finite scores."""
    return _measured(scores, lambda shares: np.diff(np.partition(shares, -2, axis=0)[-2:], axis=0)[0])


def entropy(scores: np.ndarray) -> np.ndarray:
    """As `margin`."""
    return _measured(scores, lambda shares: 1 - entr(shares).sum(axis=0) / np.log(len(shares)))


def max_probability(scores: np.ndarray) -> np.ndarray:
    """As `margin`."""
    return _measured(scores, lambda shares: (len(shares) * shares.max(axis=0) - 1) / (len(shares) - 1))


MEASURES: dict[str, Measure] = {"margin": margin, "entropy": entropy, "max_probability": max_probability}


def ignore_below(mask: np.ndarray, confidence: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """The mask, uint8 [H, W], with 255 where the confidence is below the threshold.

    `threshold` is one number or one for each class, [K]. Compared in float64, so a threshold from `PrecisionCounts`
    keeps the very pixels that were counted.
    """
    given = np.asarray(threshold, np.float64)
    least = np.append(given, np.zeros(256 - len(given)))[mask] if given.ndim else given
    return np.where(confidence.astype(np.float64) < least, np.uint8(IGNORE_INDEX), mask)


def class_confidence(mask: np.ndarray, confidence: np.ndarray, class_count: int) -> np.ndarray:
    """The mean confidence of each class, float64 [K]; nan for a class without pixels."""
    counts = np.bincount(mask.ravel(), minlength=256)[:class_count]
    sums = np.bincount(mask.ravel(), weights=confidence.astype(np.float64).ravel(), minlength=256)[:class_count]
    return np.divide(sums, counts, out=np.full(class_count, np.nan), where=counts > 0)


def image_confidence(mask: np.ndarray, confidence: np.ndarray) -> float:
    """The mean confidence of the pixels that are not ignored; nan when all are."""
    seen = mask != IGNORE_INDEX
    return float(confidence[seen].mean(dtype=np.float64)) if seen.any() else float("nan")


class PrecisionCounts:
    """Which threshold gives a wished precision, from any number of pixels in a fixed memory.

    Counts pixels and right pixels in 1,024 steps of confidence; the steps are exact in any float type of 11 bits or
    more. For a threshold of each class keep one for each class. Counts of several processes are added by `+`.
    """

    STEPS = 1024

    def __init__(self) -> None:
        self.counts = np.zeros((2, self.STEPS), np.int64)  # wrong, right

    def update(self, confidence: np.ndarray, right: np.ndarray) -> None:
        """Add pixels: confidence 0..1 and whether the label is right (bool), of one shape, void pixels taken out.

        Raises BadMask when the shapes differ, OutOfRange for a confidence outside 0..1.
        """
        if confidence.shape != right.shape or right.dtype != bool:
            raise BadMask(f"confidence {confidence.shape} for right {right.dtype} {right.shape}", allowed="bool, alike")
        if confidence.size == 0:
            return
        low, high = float(confidence.min()), float(confidence.max())
        if not (low >= 0 and high <= 1):
            raise OutOfRange(f"confidence from {low:.6g} to {high:.6g}", allowed="0 to 1")
        step = np.minimum((confidence.astype(np.float64) * self.STEPS).astype(np.int64), self.STEPS - 1)
        both = np.bincount((right.astype(np.int64) * self.STEPS + step).ravel(), minlength=2 * self.STEPS)
        self.counts += both.reshape(2, self.STEPS)

    def __add__(self, other: PrecisionCounts) -> PrecisionCounts:
        total = PrecisionCounts()
        total.counts = self.counts + other.counts
        return total

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Thresholds, and for each the precision of the pixels kept (nan for none) and their share; float64 [1024]."""
        wrong, right = self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        kept = wrong + right
        precision = np.divide(right, kept, out=np.full(self.STEPS, np.nan), where=kept > 0)
        return np.arange(self.STEPS) / self.STEPS, precision, kept / max(1, int(kept[0]))

    def threshold(self, precision: float) -> float:
        """The lowest threshold, so the one that keeps most, at which the kept pixels have this precision or more.

        A multiple of 1/1024. Raises OutOfRange for a precision outside 0..1, or one that no threshold reaches.
        """
        if not 0 <= precision <= 1:
            raise OutOfRange(f"a precision of {precision}", allowed="0 to 1")
        thresholds, reached, _ = self.curve()
        enough = np.flatnonzero(reached >= precision)  # nan is never enough
        if not len(enough):
            best = "nothing was counted" if np.isnan(reached).all() else f"at best {np.nanmax(reached):.4f} is reached"
            raise OutOfRange(f"no threshold gives a precision of {precision}: {best}", fix="wish for less")
        return float(thresholds[enough[0]])


def _measured(scores: np.ndarray, measure: Measure) -> np.ndarray:
    """`measure` of the shares, where there are two classes or more and any score."""
    low, high = float(scores.min()), float(scores.max())
    if not (low >= 0 and high < np.inf):
        raise BadMask(
            f"class scores from {low:.6g} to {high:.6g}", allowed="finite and 0 or more", fix="take a softmax of logits"
        )
    sure = np.empty(scores.shape[1:], np.float32)
    for top in range(0, len(sure), ROWS):
        block = scores[:, top : top + ROWS].astype(np.float64)
        total = block.sum(axis=0)
        if len(block) == 1:
            sure[top : top + ROWS] = total > 0
            continue
        block /= np.where(total > 0, total, 1)
        sure[top : top + ROWS] = np.where(total > 0, measure(block).clip(0, 1), 0)
    return sure
