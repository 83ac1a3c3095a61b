"""A mask with its uncertain pixels ignored, and the mean confidence of what a mask shows."""

from __future__ import annotations

import numpy as np

from ca_seg.vocabulary import IGNORE_INDEX


def ignore_below(mask: np.ndarray, confidence: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """The mask with IGNORE_INDEX (255) where the confidence is below the threshold.

    The comparison is in float64, so a threshold from `PrecisionCounts` keeps exactly the pixels that were counted.

    Args:
        mask: uint8 [H, W], class indices or IGNORE_INDEX
        confidence: float [H, W], 0..1
        threshold: one number, or one for each class [K]

    Returns:
        uint8 [H, W]
    """
    thresholds = np.asarray(threshold, np.float64)
    bound = np.append(thresholds, np.zeros(256 - len(thresholds)))[mask] if thresholds.ndim else thresholds
    return np.where(confidence.astype(np.float64) < bound, np.uint8(IGNORE_INDEX), mask)


def class_confidence(mask: np.ndarray, confidence: np.ndarray, class_count: int) -> np.ndarray:
    """The mean confidence of each class.

    Args:
        mask: uint8 [H, W], class indices or IGNORE_INDEX
        confidence: float [H, W], 0..1
        class_count: K

    Returns:
        float64 [K]; NaN for a class without pixels.
    """
    counts = np.bincount(mask.ravel(), minlength=256)[:class_count]
    sums = np.bincount(mask.ravel(), weights=confidence.astype(np.float64).ravel(), minlength=256)[:class_count]
    return np.divide(sums, counts, out=np.full(class_count, np.nan), where=counts > 0)
