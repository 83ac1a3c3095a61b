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
def test_the_threshold_against_trying_all(seed: int, kind: type, wished: float) -> None:
    rng = np.random.default_rng(seed)
    sure = rng.random(rng.integers(1, 200)).astype(kind)
    sure[rng.random(len(sure)) < 0.2] = rng.integers(0, 1025, 1)[0] / 1024  # on a border between two steps
    right = rng.random(len(sure)) < sure.astype(float)
    counts = PrecisionCounts()
    for part in np.array_split(np.arange(len(sure)), 3):
        counts.update(sure[part], right[part])
    fitting = [
        step / 1024
        for step in range(1024)
        if (kept := sure.astype(float) >= step / 1024).any() and right[kept].mean() >= wished
    ]
    if not fitting:
        with pytest.raises(OutOfRange, match=str(wished)):
            counts.threshold(wished)
        return
    found = counts.threshold(wished)
    assert found == fitting[0]
    mask = ignore_below(np.zeros((1, len(sure)), np.uint8), sure[None], found)[0]
    np.testing.assert_array_equal(mask == 0, sure.astype(float) >= found)  # the very pixels that were counted


def test_counts_of_several_processes_add_up() -> None:
    rng = np.random.default_rng(0)
    sure, right = rng.random((2, 50, 40)), rng.random((2, 50, 40)) < 0.7
    whole, one, two = PrecisionCounts(), PrecisionCounts(), PrecisionCounts()
    whole.update(sure, right)
    one.update(sure[0], right[0])
    two.update(sure[1], right[1])
    both = one + two
    np.testing.assert_array_equal(both.counts, whole.counts)
    thresholds, precision, share = both.curve()
    for step in (0, 300, 900, 1023):
        kept = sure >= thresholds[step]
        assert share[step] == kept.mean()
        assert precision[step] == right[kept].mean()
    one.update(np.ones(5, np.float32), np.ones(5, bool))  # 1.0 lies in the last step
    assert one.counts[1, 1023] == (right[0] & (sure[0] >= 1023 / 1024)).sum() + 5


def test_counts_refuse_what_they_cannot_count() -> None:
    counts = PrecisionCounts()
    counts.update(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(OutOfRange, match=r"0.5"):
        counts.threshold(0.5)
    for sure, right, error in (
        (np.ones(2), np.ones(3, bool), BadMask),
        (np.ones(2), np.ones(2, int), BadMask),
        (np.array([1.5]), np.ones(1, bool), OutOfRange),
        (np.array([np.nan]), np.ones(1, bool), OutOfRange),
    ):
        with pytest.raises(error):
            counts.update(sure, right)
    counts.update(np.array([0.2, 0.9]), np.array([True, False]))
    with pytest.raises(OutOfRange, match=r"0\.5"):
        counts.threshold(0.9)
    with pytest.raises(OutOfRange, match="2"):
        counts.threshold(2)
