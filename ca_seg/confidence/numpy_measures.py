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

from ca_seg.errors import BadMask

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
