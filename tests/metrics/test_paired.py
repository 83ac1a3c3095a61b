"""Paired differences against plain arithmetic, a bootstrap loop, and the spread that theory gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ca_seg.errors import OutOfRange, UserError
from ca_seg.metrics.paired import PairedDifference, paired_difference


def random_scores(seed: int, count: int, gain: float) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of two methods: images differ by 0.2, the methods by `gain` with a deviation of 0.03 on each image."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0.5, 0.2, count)
    changed = base + rng.normal(gain, 0.03, count)
    return ({f"{n:03d}": float(values[n]) for n in range(count)} for values in (base, changed))


def test_by_hand() -> None:
    first = {"a": 0.25, "b": 0.5, "c": 0.75, "d": 0.5, "e": math.nan}
    second = {"e": math.nan, "a": 0.5, "b": 0.75, "c": 0.5, "d": 0.5}
    got = paired_difference(first, second)
    assert (got.mean, got.better, got.worse, got.equal, got.unscored) == (0.0625, 2, 1, 1, 1)
    assert got.images == 4
    assert -0.25 <= got.low < got.mean < got.high <= 0.25


def test_the_interval_equals_a_bootstrap_loop_and_theory() -> None:
    first, second = random_scores(0, 150, 0.01)
    got = paired_difference(first, second)
    change = np.array([second[name] - first[name] for name in first])
    rng = np.random.default_rng(99)
    means = [change[rng.integers(0, 150, 150)].mean() for _ in range(4000)]
    error = change.std() / math.sqrt(150)
    for end, quantile, sigmas in ((got.low, 0.025, -1.96), (got.high, 0.975, 1.96)):
        assert end == pytest.approx(np.quantile(means, quantile), abs=error / 4)
        assert end == pytest.approx(change.mean() + sigmas * error, abs=error / 4)
    narrow = paired_difference(first, second, level=0.5)
    assert got.low < narrow.low < narrow.high < got.high
    assert (narrow.high - narrow.low) / (got.high - got.low) == pytest.approx(0.674 / 1.96, rel=0.1)


def test_a_small_gain_shows_although_images_differ_much() -> None:
    got = paired_difference(*random_scores(1, 200, 0.01))
    assert 0 < got.low < 0.01 < got.high


def test_order_changes_nothing_and_swapping_changes_the_sign() -> None:
    first, second = random_scores(2, 40, 0.0)
    got = paired_difference(first, second)
    assert paired_difference(dict(reversed(first.items())), second) == got
    back = paired_difference(second, first)
    assert (back.mean, back.better, back.worse) == (-got.mean, got.worse, got.better)
    assert back.low == pytest.approx(-got.high, abs=0.002)


def test_the_same_run_twice_and_a_single_image() -> None:
    first, _ = random_scores(3, 10, 0.0)
    assert paired_difference(first, first) == PairedDifference(0, 0, 0, 0, 0, 10, 0)
    alone = paired_difference({"a": 0.25}, {"a": 0.5})
    assert (alone.mean, alone.better) == (0.25, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)


def test_different_images_are_named() -> None:
    first = dict.fromkeys("abcdefghij", 0.5)
    with pytest.raises(UserError, match=r"a, b, c, d, e.*4.* z\b"):
        paired_difference(first, {"j": 0.5, "z": 0.1})
    with pytest.raises(UserError, match=r"second.*\bc\b") as caught:
        paired_difference({"a": 1.0}, {"a": 1.0, "c": 1.0})
    assert "first" not in caught.value.what
    with pytest.raises(UserError, match=r"\bb\b"):
        paired_difference({"a": 1.0, "b": math.nan}, {"a": 1.0, "b": 0.5})
    with pytest.raises(OutOfRange, match="inf"):
        paired_difference({"a": math.inf}, {"a": 1.0})
    for scores in ({}, {"a": math.nan}):
        with pytest.raises(UserError):
            paired_difference(scores, scores)
    with pytest.raises(OutOfRange, match="95"):
        paired_difference(first, first, level=95)
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        paired_difference(first, first, replicates=0)
