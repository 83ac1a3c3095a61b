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
    sure = label_of(mask).confidence
    found = class_confidence(mask, sure, len(NAMES))
    for index in range(len(NAMES)):
        own = [float(value) for value, label in zip(sure.ravel(), mask.ravel(), strict=True) if label == index]
        assert found[index] == pytest.approx(np.mean(own) if own else np.nan, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(masks(), st.floats(0, 1))
def test_what_is_below_the_threshold_is_ignored(mask: np.ndarray, threshold: float) -> None:
    sure = label_of(mask).confidence
    each = np.linspace(0, 1, len(NAMES))
    one, many = ignore_below(mask, sure, threshold), ignore_below(mask, sure, each)
    assert one.dtype == many.dtype == np.uint8
    for y, x in np.ndindex(mask.shape):
        assert one[y, x] == (mask[y, x] if float(sure[y, x]) >= threshold else 255)
        kept = mask[y, x] != 255 and float(sure[y, x]) >= each[mask[y, x]]
        assert many[y, x] == (mask[y, x] if kept else 255)


def test_a_pixel_at_the_threshold_is_kept_and_compared_exactly() -> None:
    sure = np.array([[0.5, 0.7, 0.3]], np.float32)  # as float32: 0.5, a little below 0.7, a little above 0.3
    zeros = np.zeros((1, 3), np.uint8)
    for threshold, kept in ((0.5, [0, 0, 255]), (0.7, [255, 255, 255]), (0.3, [0, 0, 0])):
        assert ignore_below(zeros, sure, threshold).tolist() == [kept]
        assert ignore_below(zeros, sure, np.array([threshold])).tolist() == [kept]
