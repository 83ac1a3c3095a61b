"""Confidence in plain NumPy and float64: the independent reference of `ca_seg.confidence`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr

Measure = Callable[[np.ndarray], np.ndarray]


def margin(scores: np.ndarray) -> np.ndarray:
    """Float [K, H, W], 0 or more, to float32 [H, W] of 0..1."""
    return _per_pixel(scores, lambda p: np.diff(np.partition(p, -2, axis=0)[-2:], axis=0)[0])


def entropy(scores: np.ndarray) -> np.ndarray:
    """As `margin`."""
    return _per_pixel(scores, lambda p: 1 - entr(p).sum(axis=0) / np.log(len(p)))


def max_probability(scores: np.ndarray) -> np.ndarray:
    """As `margin`."""
    return _per_pixel(scores, lambda p: (len(p) * p.max(axis=0) - 1) / (len(p) - 1))


MEASURES: dict[str, Measure] = {"margin": margin, "entropy": entropy, "max_probability": max_probability}


def temper(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(p) / T) of scores [K, H, W], 0 or more: float32; a pixel whose scores are all 0 stays 0."""
    wide = scores.astype(np.float64)
    largest = wide.max(axis=0)
    powers = (wide / np.where(largest > 0, largest, 1)) ** (1 / temperature)
    return (powers / np.where(largest > 0, powers.sum(axis=0), 1)).astype(np.float32)


def _per_pixel(scores: np.ndarray, measure: Measure) -> np.ndarray:
    """`measure` of the probabilities, where there are two classes or more and any score."""
    wide = scores.astype(np.float64)
    total = wide.sum(axis=0)
    if len(wide) == 1:
        return (total > 0).astype(np.float32)
    return np.where(total > 0, measure(wide / np.where(total > 0, total, 1)).clip(0, 1), 0).astype(np.float32)
