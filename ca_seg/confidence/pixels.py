"""Confidence of single pixels, in float64, as it is fitted and scored.

Labelling computes confidences in float32 (`confident_mask.py`); thresholds are fitted in steps of 1/1024 of a
confidence, so fitting takes the same measures in float64 and rounds once.
"""

from __future__ import annotations

import numpy as np
import torch

from ca_seg.confidence.measures import check_probabilities, confidence_of
from ca_seg.confidence.temperature import apply_temperature

CHUNK_ELEMENTS = 2**22  # float64 numbers at a time


def apply_temperature_to_pixels(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Class probabilities at a temperature, computed in float64.

    Args:
        scores: [K, N], 0 or more
        temperature: T, above 0

    Returns:
        float32 [K, N]; sums to 1 over the classes, and is 0 at a pixel where all scores are 0.
    """
    probabilities = np.empty(scores.shape, np.float32)
    for part in _chunks(scores):
        chunk = torch.from_numpy(np.ascontiguousarray(scores[:, part], np.float64))
        probabilities[:, part] = apply_temperature(chunk, temperature, dim=0).numpy()
    return probabilities


def pixel_confidence(scores: np.ndarray, measure: str) -> np.ndarray:
    """The confidence of each pixel, computed in float64.

    Args:
        scores: [K, N], 0 or more
        measure: margin, entropy or max_probability

    Returns:
        float32 [N], 0..1

    Raises:
        BadMask: for scores that are negative or not finite
    """
    confidence = np.empty(scores.shape[1], np.float32)
    for part in _chunks(scores):
        chunk = torch.from_numpy(np.ascontiguousarray(scores[:, part], np.float64))
        check_probabilities(chunk)
        confidence[part] = confidence_of(chunk, measure).numpy()
    return confidence


def _chunks(scores: np.ndarray) -> list[slice]:
    step = max(1, CHUNK_ELEMENTS // len(scores))
    return [slice(start, start + step) for start in range(0, scores.shape[1], step)]
