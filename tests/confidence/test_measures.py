"""Measures of confidence against scipy and loops, and against NumPy."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import entropy as scipy_entropy

from ca_seg.confidence.measures import MEASURES, confidence_of
from ca_seg.confidence.pixels import pixel_confidence
from ca_seg.errors import BadMask
from tests.confidence import numpy_measures


@st.composite
def scores(draw) -> np.ndarray:
    classes, height, width = draw(st.integers(2, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    values = rng.random((classes, height, width)) ** draw(st.sampled_from([1, 5]))
    return np.where(rng.random(values.shape) < 0.2, 0, values * draw(st.sampled_from([0.1, 1, 50]))).astype(kind)


@settings(max_examples=80, deadline=None)
@given(scores())
def test_measures_against_a_loop(case: np.ndarray) -> None:
    count = len(case)
    results = {name: pixel_confidence(case.reshape(count, -1), name) for name in MEASURES}
    for number, pixel in enumerate(case.reshape(count, -1).T.astype(np.float64)):
        if pixel.sum() == 0:
            expected = dict.fromkeys(MEASURES, 0.0)
        else:
            probabilities = sorted(pixel / pixel.sum(), reverse=True)
            expected = {
                "margin": probabilities[0] - probabilities[1],
                "entropy": 1 - scipy_entropy(probabilities, base=count),
                "max_probability": (probabilities[0] - 1 / count) / (1 - 1 / count),
            }
        for name in MEASURES:
            assert results[name].dtype == np.float32
            assert results[name][number] == pytest.approx(expected[name], abs=1e-6)
    for name, values in results.items():  # the reference that other tests use
        reference = numpy_measures.MEASURES[name](case)
        np.testing.assert_allclose(values.reshape(reference.shape), reference, atol=1e-7)


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_at_their_ends(measure: str, monkeypatch) -> None:
    certain, even, single = np.zeros((4, 1)), np.full((4, 1), 0.3), np.ones((1, 1))
    certain[2] = 7
    assert pixel_confidence(certain, measure)[0] == 1
    assert pixel_confidence(even, measure)[0] == pytest.approx(0, abs=1e-7)
    assert pixel_confidence(single, measure)[0] == 1
    assert pixel_confidence(certain * 0, measure)[0] == pixel_confidence(single * 0, measure)[0] == 0
    random_scores = np.random.default_rng(0).random((3, 400))
    whole = pixel_confidence(random_scores, measure)
    monkeypatch.setattr("ca_seg.confidence.pixels.CHUNK_ELEMENTS", 30)
    np.testing.assert_array_equal(pixel_confidence(random_scores, measure), whole)
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(BadMask) as problem:
            pixel_confidence(np.array([[1.0], [wrong]]), measure)
        assert "model.softmax" in problem.value.fix


@pytest.mark.parametrize("measure", MEASURES)
def test_both_ways_to_find_the_two_best_agree(measure: str, monkeypatch) -> None:
    values = torch.rand(6, 50, 40, generator=torch.Generator().manual_seed(0))
    confidence = confidence_of(values, measure, temperature=0.5)
    monkeypatch.setattr("ca_seg.confidence.measures.MIN_PLANE_PIXELS", 1)
    torch.testing.assert_close(confidence_of(values, measure, temperature=0.5), confidence)


def test_measures_differ_where_they_should() -> None:
    """Two classes share a pixel of three: no margin, but the third class is excluded."""
    pixel = np.array([[0.5], [0.5], [0.0]])
    margin, entropy, highest = (pixel_confidence(pixel, name)[0] for name in ("margin", "entropy", "max_probability"))
    assert margin == 0 < highest < entropy < 1
