"""The threshold of a wanted precision against trying all thresholds."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ca_seg.confidence.precision import PrecisionCounts
from ca_seg.confidence.threshold import ignore_below
from ca_seg.errors import BadMask, OutOfRange


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float16, np.float32, np.float64]), st.floats(0.3, 1))
def test_the_threshold_against_trying_all(seed: int, kind: type, target: float) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.random(rng.integers(1, 200)).astype(kind)
    confidence[rng.random(len(confidence)) < 0.2] = rng.integers(0, 1025, 1)[0] / 1024  # on a border between two steps
    right = rng.random(len(confidence)) < confidence.astype(float)
    counts = PrecisionCounts()
    for part in np.array_split(np.arange(len(confidence)), 3):
        counts.update(confidence[part], right[part])
    fitting = [
        step / 1024
        for step in range(1024)
        if (retained := confidence.astype(float) >= step / 1024).any() and right[retained].mean() >= target
    ]
    if fitting:
        threshold = counts.threshold(target)
        assert threshold == fitting[0]
        mask = ignore_below(np.zeros((1, len(confidence)), np.uint8), confidence[None], threshold)[0]
        np.testing.assert_array_equal(
            mask == 0, confidence.astype(float) >= threshold
        )  # the same pixels that were counted
    else:
        with pytest.raises(OutOfRange, match=str(target)):
            counts.threshold(target)


def test_counts_of_several_processes_add_up() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = rng.random((2, 50, 40)), rng.random((2, 50, 40)) < 0.7
    whole, first, second = PrecisionCounts(), PrecisionCounts(), PrecisionCounts()
    whole.update(confidence, correct)
    first.update(confidence[0], correct[0])
    second.update(confidence[1], correct[1])
    both = first + second
    np.testing.assert_array_equal(both.counts, whole.counts)
    thresholds, precision, fraction = both.curve()
    for step in (0, 300, 900, 1023):
        retained = confidence >= thresholds[step]
        assert fraction[step] == retained.mean()
        assert precision[step] == correct[retained].mean()
    first.update(np.ones(5, np.float32), np.ones(5, bool))  # 1.0 lies in the last step
    assert first.counts[1, 1023] == (correct[0] & (confidence[0] >= 1023 / 1024)).sum() + 5


def test_counts_reject_invalid_input() -> None:
    counts = PrecisionCounts()
    counts.update(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(OutOfRange, match=r"0.5"):
        counts.threshold(0.5)
    for confidence, right, error in (
        (np.ones(2), np.ones(3, bool), BadMask),
        (np.ones(2), np.ones(2, int), BadMask),
        (np.array([1.5]), np.ones(1, bool), OutOfRange),
        (np.array([np.nan]), np.ones(1, bool), OutOfRange),
    ):
        with pytest.raises(error):
            counts.update(confidence, right)
    counts.update(np.array([0.2, 0.9]), np.array([True, False]))
    with pytest.raises(OutOfRange, match=r"0\.5"):
        counts.threshold(0.9)
    with pytest.raises(OutOfRange, match="2"):
        counts.threshold(2)
