"""Average precision against scikit-learn and against a loop over thresholds."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import average_precision_score

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.average_precision import (
    MeanAveragePrecision,
    average_precision,
    paper_average_precision,
    scene_average_precision,
)

VOID = 255


@st.composite
def scenes(draw) -> tuple[np.ndarray, np.ndarray]:
    """Score maps [K, H, W] and a mask: ties are common, some classes absent, some pixels void."""
    classes = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    steps = draw(st.sampled_from([1, 3, 10, 10**6]))  # few steps: many equal scores
    scores = (rng.integers(0, steps + 1, (classes, height, width)) / steps).astype(np.float32)
    mask = rng.choice(rng.permutation(classes)[: rng.integers(1, classes + 1)], (height, width))
    return scores, np.where(rng.random(mask.shape) < draw(st.sampled_from([0.0, 0.3])), VOID, mask)


def loop(scores: np.ndarray, ground_truth: np.ndarray) -> float:
    """The definition: one threshold after another."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = ground_truth[chosen].sum() / ground_truth.sum()
        area += (recall - recall_before) * ground_truth[chosen].mean()
        recall_before = recall
    return area


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_rows_equal_sklearn_and_loop(case) -> None:
    scores, mask = case
    for index, row in enumerate(scores.reshape(len(scores), -1)):
        ground_truth = (mask == index).ravel()
        ours = float(average_precision(torch.from_numpy(row)[None], torch.from_numpy(ground_truth)[None]))
        if not ground_truth.any():
            assert math.isnan(ours)
            continue
        assert ours == pytest.approx(average_precision_score(ground_truth, row), abs=1e-12)
        assert ours == pytest.approx(loop(row, ground_truth), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_paper_figure_equals_sklearn_on_both_channels(case) -> None:
    scores, labels = case
    mask = np.where(labels == VOID, VOID, labels == labels.flat[0])
    score, labelled = scores[0], mask != VOID
    ours = float(paper_average_precision(torch.from_numpy(score), torch.from_numpy(mask)))
    if not labelled.any():
        assert math.isnan(ours)
        return
    both = np.concatenate([1 - score[labelled], score[labelled]]), np.concatenate([1 - mask[labelled], mask[labelled]])
    assert ours == pytest.approx(average_precision_score(both[1], both[0]), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_scene_figure_is_the_mean_over_present_classes(case) -> None:
    scores, mask = case
    labelled = mask != VOID
    ours = float(scene_average_precision(torch.from_numpy(scores), torch.from_numpy(mask)))
    present = np.unique(mask[labelled])
    if not len(present):
        assert math.isnan(ours)
        return
    theirs = np.mean([average_precision_score(mask[labelled] == index, scores[index][labelled]) for index in present])
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_logits_are_ranked_without_a_sigmoid() -> None:
    """In float32 a sigmoid would make 20, 30 and 40 equal."""
    logits, ground_truth = np.array([40.0, 30.0, 20.0, -3.0], np.float32), np.array([1, 0, 0, 1])
    ours = average_precision(torch.from_numpy(logits)[None], torch.from_numpy(ground_truth).bool()[None])
    assert float(ours) == pytest.approx((1 + 2 / 4) / 2) == average_precision_score(ground_truth, logits)


def test_half_precision_and_no_gradient() -> None:
    score = torch.tensor([[0.25, 0.5], [0.75, 0.5]], requires_grad=True)
    mask = torch.tensor([[0, 1], [1, 0]])
    full = paper_average_precision(score, mask)
    assert not full.requires_grad
    assert paper_average_precision(score.bfloat16(), mask) == full  # these values are exact in bfloat16


@settings(max_examples=20, deadline=None)
@given(st.lists(scenes(), min_size=1, max_size=6), st.integers(0, 6))
def test_two_halves_of_a_stream_add_up(images, cut) -> None:
    whole, left, right = (MeanAveragePrecision("paper") for _ in range(3))
    expected = []
    for index, (scores, labels) in enumerate(images):
        score = torch.from_numpy(scores[0])
        mask = torch.from_numpy(np.where(labels == VOID, VOID, labels == 0))
        for metric in (whole, left if index < cut else right):
            metric.update(score[None], mask[None])
        value = float(paper_average_precision(score, mask))
        expected += [] if math.isnan(value) else [value]
    left.merge_state(right)
    assert left.count == whole.count == len(expected)
    if expected:
        assert left.compute() == whole.compute()  # to the last bit, in any order
        assert float(whole.compute()) == pytest.approx(np.mean(expected), abs=1e-12)


def test_stream_of_scenes_in_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(4, 5, 6, 7, generator=generator)
    mask = torch.randint(0, 5, (4, 6, 7), generator=generator)
    mask[2] = VOID  # an image without a scored pixel has no AP, and does not count as 0
    metric = MeanAveragePrecision("present")
    metric.update(scores[:3], mask[:3])
    metric.update(scores[3:], mask[3:])
    values = [float(scene_average_precision(scores[i], mask[i])) for i in (0, 1, 3)]
    assert float(metric.compute()) == pytest.approx(np.mean(values))
    assert metric.count == 3
    assert metric.compute().dtype == torch.float64


def test_invalid_input_raises() -> None:
    score, mask = torch.rand(3, 4), torch.zeros(3, 4).long()
    with pytest.raises(OutOfRange, match="NaN"):
        paper_average_precision(score.masked_fill(score == score[1, 1], torch.nan), mask)
    with pytest.raises(BadMask, match=r"\b2\b"):
        paper_average_precision(score, mask + 2)
    with pytest.raises(BadMask, match=r"\(2, 4\)"):
        paper_average_precision(score, mask[:2])
    with pytest.raises(BadMask, match=r"\b2\b"):
        scene_average_precision(score.expand(2, 3, 4), mask + 2)
    with pytest.raises(BadMask, match=r"\(2, 4\)"):
        scene_average_precision(score.expand(2, 3, 4), mask[:2])
    with pytest.raises(UserError, match="'coco'"):
        MeanAveragePrecision("coco")
    with pytest.raises(BadMask, match=r"2.*1"):
        MeanAveragePrecision("paper").update(score.expand(2, 3, 4), mask[None])
