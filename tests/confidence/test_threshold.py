"""Thresholds and mean confidences against loops."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ca_seg.confidence.threshold import class_confidence, ignore_below
from tests.labelling.random_labels import NAMES, label_of, masks


@settings(max_examples=60, deadline=None)
@given(masks())
def test_means_against_a_loop(mask: np.ndarray) -> None:
    confidence = label_of(mask).confidence
    means = class_confidence(mask, confidence, len(NAMES))
    for index in range(len(NAMES)):
        values = [float(value) for value, label in zip(confidence.ravel(), mask.ravel(), strict=True) if label == index]
        assert means[index] == pytest.approx(np.mean(values) if values else np.nan, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(masks(), st.floats(0, 1))
def test_pixels_below_the_threshold_are_ignored(mask: np.ndarray, threshold: float) -> None:
    confidence = label_of(mask).confidence
    thresholds = np.linspace(0, 1, len(NAMES))
    with_one_threshold, with_one_per_class = (
        ignore_below(mask, confidence, threshold),
        ignore_below(mask, confidence, thresholds),
    )
    assert with_one_threshold.dtype == with_one_per_class.dtype == np.uint8
    for y, x in np.ndindex(mask.shape):
        assert with_one_threshold[y, x] == (mask[y, x] if float(confidence[y, x]) >= threshold else 255)
        retained = mask[y, x] != 255 and float(confidence[y, x]) >= thresholds[mask[y, x]]
        assert with_one_per_class[y, x] == (mask[y, x] if retained else 255)


def test_a_pixel_at_the_threshold_is_kept_and_compared_exactly() -> None:
    confidence = np.array([[0.5, 0.7, 0.3]], np.float32)  # as float32: 0.5, a little below 0.7, a little above 0.3
    zeros = np.zeros((1, 3), np.uint8)
    for threshold, expected in ((0.5, [0, 0, 255]), (0.7, [255, 255, 255]), (0.3, [0, 0, 0])):
        assert ignore_below(zeros, confidence, threshold).tolist() == [expected]
        assert ignore_below(zeros, confidence, np.array([threshold])).tolist() == [expected]
