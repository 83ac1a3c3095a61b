"""The confusion matrix against scikit-learn and against a plain loop."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from ca_seg.errors import BadMask, UserError
from ca_seg.metrics.confusion import (
    ConfusionMatrix,
    class_accuracy,
    class_iou,
    frequency_weighted_iou,
    mean_accuracy,
    miou,
    pixel_accuracy,
)

VOID = 255


@st.composite
def labelled(draw) -> tuple[int, np.ndarray, np.ndarray]:
    """K, prediction, target: some classes absent from one or both, some pixels void, more hits than by chance."""
    classes = draw(st.one_of(st.integers(2, 6), st.integers(2, 200)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(7,), (5, 6), (2, 9, 8)]))
    used = rng.permutation(classes)[: rng.integers(1, classes + 1)]
    target = rng.choice(used, shape)
    prediction = np.where(rng.random(shape) < 0.5, target, rng.integers(0, classes, shape))
    target = np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 1.0])), VOID, target)
    return classes, prediction, target


def matrix_of(classes: int, prediction: np.ndarray, target: np.ndarray) -> torch.Tensor:
    metric = ConfusionMatrix(classes)
    metric.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return metric.compute()


def loop(classes: int, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for guess, ground_truth in zip(prediction.ravel(), target.ravel(), strict=True):
        if ground_truth != VOID:
            counts[ground_truth, guess] += 1
    return counts


@settings(max_examples=60, deadline=None)
@given(labelled())
def test_matrix_equals_loop_and_sklearn(case) -> None:
    classes, prediction, target = case
    matrix = matrix_of(*case)
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix, loop(*case))
    valid = target != VOID
    if valid.any():
        theirs = confusion_matrix(target[valid], prediction[valid], labels=np.arange(classes))
        np.testing.assert_array_equal(matrix, theirs)


@settings(max_examples=60, deadline=None)
@given(labelled())
def test_scores_equal_sklearn(case) -> None:
    classes, prediction, target = case
    matrix = matrix_of(*case)
    valid = target != VOID
    ground_truth, guess = target[valid], prediction[valid]
    if not valid.any():
        for score in (pixel_accuracy, mean_accuracy, miou):
            assert math.isnan(score(matrix))
        assert class_iou(matrix).isnan().all()
        return
    assert float(pixel_accuracy(matrix)) == pytest.approx(accuracy_score(ground_truth, guess))

    in_ground_truth, in_either = np.unique(ground_truth), np.union1d(ground_truth, guess)
    everywhere = np.arange(classes)
    iou = np.full(classes, np.nan)
    iou[in_either] = jaccard_score(ground_truth, guess, labels=in_either, average=None)
    np.testing.assert_allclose(class_iou(matrix), iou)
    accuracy = np.full(classes, np.nan)
    accuracy[in_ground_truth] = recall_score(ground_truth, guess, labels=in_ground_truth, average=None)
    np.testing.assert_allclose(class_accuracy(matrix), accuracy)

    assert float(miou(matrix)) == pytest.approx(iou[in_either].mean())
    assert float(miou(matrix, over="ground_truth")) == pytest.approx(iou[in_ground_truth].mean())
    assert float(mean_accuracy(matrix)) == pytest.approx(accuracy[in_ground_truth].mean())
    weighted = jaccard_score(ground_truth, guess, labels=everywhere, average="weighted", zero_division=0)
    assert float(frequency_weighted_iou(matrix)) == pytest.approx(weighted)


@settings(max_examples=30, deadline=None)
@given(labelled(), st.integers(0, 2**32 - 1))
def test_two_halves_of_a_stream_add_up(case, seed) -> None:
    classes, prediction, target = case
    first = np.random.default_rng(seed).random(prediction.shape) < 0.5
    halves = []
    for half in (first, ~first):
        metric = ConfusionMatrix(classes)
        for part in np.array_split(np.flatnonzero(half), 3):  # several updates, some of them empty
            metric.update(torch.from_numpy(prediction.ravel()[part]), torch.from_numpy(target.ravel()[part]))
        halves.append(metric)
    left, right = halves
    left.merge_state(right)
    np.testing.assert_array_equal(left.compute(), matrix_of(*case))


def test_a_class_predicted_but_nowhere_true() -> None:
    """The only case in which the two rules for the mean differ; figures by hand."""
    matrix = torch.tensor([[3, 0, 1, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(class_iou(matrix), [3 / 4, 1, 0, np.nan])
    assert float(miou(matrix)) == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert float(miou(matrix, over="ground_truth")) == pytest.approx((3 / 4 + 1) / 2)
    with pytest.raises(UserError, match="'all'"):
        miou(matrix, over="all")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_types_do_not_overflow(dtype) -> None:
    """Row 199 of 200 is bin 39,999: an index computed in the labels' own type would wrap around."""
    metric = ConfusionMatrix(200)
    metric.update(torch.tensor([199, 0, 7]).to(dtype), torch.tensor([199, 199, VOID]).to(dtype))
    assert metric.compute()[199, 199] == 1
    assert metric.compute()[199, 0] == 1
    assert metric.compute().sum() == 2


def test_predictions_on_void_are_ignored() -> None:
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([255, 77, 1]), torch.tensor([VOID, VOID, 2]))
    assert metric.compute().tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("prediction", "target", "values"),
    [
        ([0, 1], [0, 3], "target.*3.*0 to 2"),
        ([0, 1], [0, -1], "target.*-1"),
        ([0, 255], [0, 1], "prediction.*255.*0 to 2"),
        ([0, 1, 1], [0, 1], r"\(3,\).*\(2,\)"),
        ([0.0, 1.0], [0, 1], r"prediction.*torch\.float32"),
    ],
)
def test_invalid_labels_raise_and_are_not_counted(prediction, target, values) -> None:
    metric = ConfusionMatrix(3)
    with pytest.raises(BadMask, match=values):
        metric.update(torch.tensor(prediction), torch.tensor(target))
    assert metric.matrix.sum() == 0


def test_an_ignore_index_that_is_a_class_raises() -> None:
    with pytest.raises(UserError, match="255"):
        ConfusionMatrix(300)
    assert ConfusionMatrix(300, ignore_index=-1).compute().shape == (300, 300)
    with pytest.raises(UserError, match=r"\b0\b"):
        ConfusionMatrix(0)


def test_reset_clears_the_counts() -> None:
    metric = ConfusionMatrix(2)
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    before = metric.compute()
    metric.reset()
    assert metric.matrix.sum() == 0
    assert before.sum() == 2
