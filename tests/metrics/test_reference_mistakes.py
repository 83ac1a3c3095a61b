"""Three ways in which published evaluation code counts wrongly, each with its wrong figure and the right one.

The wrong figures are computed here by small copies of the mistake, so that the difference is shown.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import jaccard_score

from ca_seg.data.classes import ClassList
from ca_seg.errors import UserError
from ca_seg.metrics.confusion import ConfusionMatrix, class_iou, miou, pixel_accuracy
from ca_seg.metrics.paper import paper_miou, two_class_scores


def matrix_of(classes: int, prediction: np.ndarray, target: np.ndarray) -> torch.Tensor:
    metric = ConfusionMatrix(classes)
    metric.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return metric.compute()


def both_channel_miou(prediction: np.ndarray, target: np.ndarray) -> float:
    """Mistake 1: values 0 and 1 of both channels of (1 - mask, mask) are histogrammed."""
    guess, ground_truth = np.stack([1 - prediction, prediction]), np.stack([1 - target, target])
    hits = np.array([((guess == value) & (ground_truth == value)).sum() for value in (0, 1)])
    union = np.array([(guess == value).sum() + (ground_truth == value).sum() for value in (0, 1)]) - hits
    return float((hits / union).mean())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0, 1))
def test_both_channel_miou_is_a_function_of_accuracy(seed, foreground, error) -> None:
    rng = np.random.default_rng(seed)
    target = (rng.random((12, 12)) < foreground).astype(int)
    prediction = np.where(rng.random((12, 12)) < error, 1 - target, target)
    scores = two_class_scores(matrix_of(2, prediction, target))
    assert scores.paper_miou == pytest.approx(both_channel_miou(prediction, target))
    present = np.union1d(target, prediction)
    macro = jaccard_score(target.ravel(), prediction.ravel(), labels=present, average="macro")
    assert scores.true_miou == pytest.approx(macro)
    assert scores.accuracy == pytest.approx((prediction == target).mean())


def test_mistake_1_an_image_without_its_object_looks_good() -> None:
    """10 % foreground, none of it predicted: Acc 0.90. Wrong: mIoU 0.818. Right: (0.90 + 0) / 2 = 0.45."""
    target = np.zeros(100, int)
    target[:10] = 1
    prediction = np.zeros(100, int)
    assert both_channel_miou(prediction, target) == pytest.approx(0.9 / 1.1)
    scores = two_class_scores(matrix_of(2, prediction, target))
    assert scores.paper_miou == pytest.approx(0.9 / 1.1)
    assert scores.true_miou == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("accuracy", "published"),
    [(0.8307, 0.7104), (0.7875, 0.6495), (0.7492, 0.5990), (0.6659, 0.4991), (0.4593, 0.2981), (0.8197, 0.6944)],
)
def test_the_formula_gives_the_published_pairs(accuracy, published) -> None:
    """ConceptAttention on Flux with and without softmax, cross-attention with and without, values, and DINO."""
    assert paper_miou(accuracy) == pytest.approx(published, abs=1.5e-4)  # both sides are rounded to four digits


def test_two_class_scores_need_two_classes() -> None:
    with pytest.raises(UserError, match=r"\(3, 3\)"):
        two_class_scores(torch.zeros(3, 3, dtype=torch.int64))


def test_mistake_2_renaming_classes_in_place_collides() -> None:
    """Asked: 5 background words, then bus (id 6) and car (id 7). Wrong: 5 becomes 6, then "index 6" catches it."""
    asked, background_words = ["bus", "car"], 5
    voc = ClassList(("background", "bus", "car"), (0, 6, 7), ignore=(255,))
    predicted = np.array([0, 5, 6])
    ground_truth = np.array([0, 6, 7])

    wrong = predicted.copy()
    wrong[wrong < background_words] = 0
    for index, name in enumerate(asked):
        wrong[wrong == background_words + index] = voc.ids[voc.names.index(name)]
    assert wrong.tolist() == [0, 7, 7]

    table = np.array([0] * background_words + [voc.names.index(name) for name in asked])
    right = voc.to_ids(table[predicted])
    assert right.tolist() == [0, 6, 7]

    target = voc.to_index(ground_truth)
    assert float(miou(matrix_of(3, voc.to_index(wrong), target))) == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert float(miou(matrix_of(3, voc.to_index(right), target))) == 1


def test_mistake_3_void_is_not_counted() -> None:
    """8 right, 2 wrong, 5 void. Wrong: void pixels are errors, Acc 8/15. Right: they are not counted, Acc 8/10."""
    target = np.array([0] * 5 + [1] * 5 + [255] * 5)
    prediction = np.array([0] * 4 + [1] + [1] * 4 + [0] + [1] * 5)
    assert (prediction == target).mean() == pytest.approx(8 / 15)
    union = ((prediction == 1) | (target == 1)).sum()
    assert 4 / union == pytest.approx(4 / 11)
    matrix = matrix_of(2, prediction, target)
    assert float(pixel_accuracy(matrix)) == pytest.approx(8 / 10)
    assert float(class_iou(matrix)[1]) == pytest.approx(4 / 6)
