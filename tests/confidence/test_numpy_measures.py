"""Confidence against scipy and loops; thresholds against trying all of them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import entropy as scipy_entropy

from ca_seg.confidence.numpy_measures import (
    MEASURES,
    PrecisionCounts,
    class_confidence,
    entropy,
    ignore_below,
    image_confidence,
    margin,
    max_probability,
)
from ca_seg.errors import BadMask, OutOfRange
from tests.labelling.random_labels import NAMES, label_of, masks


@st.composite
def scores(draw) -> np.ndarray:
    classes, height, width = draw(st.integers(2, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    values = rng.random((classes, height, width)) ** draw(st.sampled_from([1, 5]))
    return np.where(rng.random(values.shape) < 0.2, 0, values * draw(st.sampled_from([0.1, 1, 50]))).astype(kind)


@settings(max_examples=80, deadline=None)
@given(scores())
def test_measures_against_a_loop(given_scores: np.ndarray) -> None:
    count = len(given_scores)
    for y, x in np.ndindex(given_scores.shape[1:]):
        pixel = given_scores[:, y, x].astype(np.float64)
        if pixel.sum() == 0:
            expected = dict.fromkeys(MEASURES, 0.0)
        else:
            shares = sorted(pixel / pixel.sum(), reverse=True)
            expected = {
                "margin": shares[0] - shares[1],
                "entropy": 1 - scipy_entropy(shares, base=count),
                "max_probability": (shares[0] - 1 / count) / (1 - 1 / count),
            }
        for name, measure in MEASURES.items():
            found = measure(given_scores)
            assert found.dtype == np.float32
            assert found[y, x] == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES.values())
def test_measures_at_their_ends(measure) -> None:
    sure, even, one = np.zeros((4, 1, 1)), np.full((4, 1, 1), 0.3), np.ones((1, 1, 1))
    sure[2] = 7
    assert measure(sure)[0, 0] == 1
    assert measure(even)[0, 0] == pytest.approx(0, abs=1e-7)
    assert measure(one)[0, 0] == 1
    assert measure(sure * 0)[0, 0] == measure(one * 0)[0, 0] == 0
    tall = np.random.default_rng(0).random((3, 200, 2))
    np.testing.assert_array_equal(measure(tall)[150:], measure(tall[:, 150:]))  # taken in blocks of rows
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(BadMask, match="softmax"):
            measure(np.array([1.0, wrong]).reshape(2, 1, 1))


def test_measures_differ_where_they_should() -> None:
    """Two classes share a pixel of three: no margin, but not nothing known."""
    torn = np.array([0.5, 0.5, 0.0]).reshape(3, 1, 1)
    assert margin(torn)[0, 0] == 0
    assert 0 < max_probability(torn)[0, 0] < entropy(torn)[0, 0] < 1


@settings(max_examples=60, deadline=None)
@given(masks())
def test_means_against_a_loop(mask: np.ndarray) -> None:
    sure = label_of(mask).confidence
    found = class_confidence(mask, sure, len(NAMES))
    for index in range(len(NAMES)):
        own = [float(value) for value, label in zip(sure.ravel(), mask.ravel(), strict=True) if label == index]
        assert found[index] == pytest.approx(np.mean(own) if own else np.nan, nan_ok=True)
    seen = [float(value) for value, label in zip(sure.ravel(), mask.ravel(), strict=True) if label != 255]
    assert image_confidence(mask, sure) == pytest.approx(np.mean(seen) if seen else np.nan, nan_ok=True)


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
        with pytest.raises(OutOfRange, match="no threshold"):
            counts.threshold(wished)
        return
    found = counts.threshold(wished)
    assert found == fitting[0]
    mask = ignore_below(np.zeros((1, len(sure)), np.uint8), sure[None], found)[0]
    np.testing.assert_array_equal(mask == 0, sure.astype(float) >= found)  # the very pixels that were counted


def test_a_pixel_at_the_threshold_is_kept_and_compared_exactly() -> None:
    sure = np.array([[0.5, 0.7, 0.3]], np.float32)  # as float32: 0.5, a little below 0.7, a little above 0.3
    zeros = np.zeros((1, 3), np.uint8)
    for threshold, kept in ((0.5, [0, 0, 255]), (0.7, [255, 255, 255]), (0.3, [0, 0, 0])):
        assert ignore_below(zeros, sure, threshold).tolist() == [kept]
        assert ignore_below(zeros, sure, np.array([threshold])).tolist() == [kept]


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
    with pytest.raises(OutOfRange, match="nothing was counted"):
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
    with pytest.raises(OutOfRange, match=r"at best 0.5"):
        counts.threshold(0.9)
    with pytest.raises(OutOfRange, match="a precision of 2"):
        counts.threshold(2)
