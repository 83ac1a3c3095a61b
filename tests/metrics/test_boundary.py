"""Boundary IoU against distances counted pixel by pixel, against OpenCV's erosion, and against cases by hand."""

from __future__ import annotations

import math

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.boundary import BoundaryIoU, band_width, boundary_band, mean_boundary_iou
from ca_seg.metrics.confusion import ConfusionMatrix, class_iou

VOID = 255


def slow_band(mask: list[list[bool]], width: int) -> set[tuple[int, int]]:
    """The mask's pixels whose distance to some pixel outside it, in the image or beyond, is at most `width`."""
    height, across = len(mask), len(mask[0])
    inside = {(y, x) for y in range(height) for x in range(across) if mask[y][x]}
    rim = range(-1, height + 1), range(-1, across + 1)
    outside = [(y, x) for y in rim[0] for x in rim[1] if (y, x) not in inside]
    return {(y, x) for y, x in inside if min(max(abs(y - v), abs(x - u)) for v, u in outside) <= width}


def slow_counts(classes: int, images, dilation: float) -> np.ndarray:
    """Intersection and union [2, K], class by class and pixel by pixel."""
    totals = np.zeros((2, classes), int)
    for prediction, ground_truth in images:
        width = max(1, round(dilation * math.hypot(*ground_truth.shape)))
        labelled_pixels = ground_truth != VOID
        for c in range(classes):
            guess = slow_band(((prediction == c) & labelled_pixels).tolist(), width)
            true = slow_band(((ground_truth == c) & labelled_pixels).tolist(), width)
            totals[:, c] += len(guess & true), len(guess | true)
    return totals


@st.composite
def labelled(draw) -> tuple[int, list[tuple[np.ndarray, np.ndarray]], float]:
    """K, images of several sizes with some void, and a width of the band."""
    classes = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = []
    for _ in range(draw(st.integers(1, 2))):
        height, width = rng.integers(1, 12, 2)
        cells = rng.integers(0, classes, (2, (height + 3) // 4, (width + 3) // 4))
        prediction, ground_truth = cells.repeat(4, 1).repeat(4, 2)[:, :height, :width]
        prediction = np.where(rng.random(ground_truth.shape) < 0.6, ground_truth, prediction)
        void = rng.random(ground_truth.shape) < rng.choice([0.0, 0.1, 1.0], p=[0.5, 0.4, 0.1])
        images.append((prediction, np.where(void, VOID, ground_truth)))
    return classes, images, draw(st.sampled_from([0.02, 0.1, 0.3]))


def metric_of(classes: int, images, dilation: float) -> BoundaryIoU:
    metric = BoundaryIoU(classes, dilation=dilation)
    for prediction, ground_truth in images:
        metric.update(torch.from_numpy(prediction), torch.from_numpy(ground_truth))
    return metric


@settings(max_examples=50, deadline=None)
@given(labelled())
def test_counts_equal_distances_pixel_by_pixel(case) -> None:
    metric = metric_of(*case)
    intersection, union = slow_counts(*case)
    assert metric.intersection.tolist() == intersection.tolist()
    assert metric.union.tolist() == union.tolist()
    value = metric.compute()
    assert value.dtype == torch.float64
    expected = [i / u if u else math.nan for i, u in zip(intersection, union, strict=True)]
    np.testing.assert_allclose(value, expected)
    defined = [v for v in expected if not math.isnan(v)]
    assert float(mean_boundary_iou(value)) == pytest.approx(np.mean(defined) if defined else math.nan, nan_ok=True)


def test_the_band_equals_erosion_by_opencv() -> None:
    """As the paper's authors count: a border of zeros, then d erosions by a 3 x 3 square."""
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(size=(120, 160)), (0, 0), 6)
    labels = np.digitize(smooth, np.quantile(smooth, [0.3, 0.6, 0.8]))
    width = band_width(120, 160)
    assert width == 4
    band = boundary_band(labels, width)
    for c in range(4):
        mask = (labels == c).astype(np.uint8)
        framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        core = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
        np.testing.assert_array_equal(band & (mask > 0), (mask - core) > 0)


@settings(max_examples=30, deadline=None)
@given(labelled(), st.integers(0, 2**32 - 1))
def test_invariances(case, seed) -> None:
    classes, images, dilation = case
    value = metric_of(*case).compute()
    perfect = metric_of(classes, [(np.where(t == VOID, 0, t), t) for _, t in images], dilation).compute()
    assert set(perfect[~perfect.isnan()].tolist()) <= {1.0}
    # what is predicted on void changes nothing
    rng = np.random.default_rng(seed)
    changed_on_void = [(np.where(t == VOID, rng.integers(-9, 999, t.shape), p), t) for p, t in images]
    torch.testing.assert_close(
        metric_of(classes, changed_on_void, dilation).compute(), value, rtol=0, atol=0, equal_nan=True
    )
    # a turned or flipped image is the same image
    turned = [(np.rot90(p).copy(), np.rot90(t).copy()) for p, t in images]
    torch.testing.assert_close(metric_of(classes, turned, dilation).compute(), value, rtol=0, atol=0, equal_nan=True)
    # a band that covers everything gives plain IoU
    matrix = ConfusionMatrix(classes)
    for p, t in images:
        matrix.update(torch.from_numpy(p), torch.from_numpy(t))
    everything = metric_of(classes, images, 0.99).compute()
    torch.testing.assert_close(everything, class_iou(matrix.compute()), rtol=0, atol=0, equal_nan=True)
    # two halves of a stream are the stream
    left, right = metric_of(classes, images[:1], dilation), metric_of(classes, images[1:], dilation)
    left.merge_state(right)
    torch.testing.assert_close(left.compute(), value, rtol=0, atol=0, equal_nan=True)


def test_a_shifted_square_by_hand() -> None:
    """A square of 6 x 6, shifted by one in 20 x 20 pixels, where d = 1: rings of 20 pixels that share 10.

    Left ring: rows 7 and 12 in columns 7 to 12, columns 7 and 12 between. Shifted right by one, the rows share columns
    8 to 12, which is 2 * 5; the sides are at 7, 12 and 8, 13 and share nothing more.
    """
    ground_truth, guess = torch.zeros(2, 20, 20, dtype=torch.int64)
    ground_truth[7:13, 7:13] = 1
    guess[7:13, 8:14] = 1
    metric = BoundaryIoU(2)
    metric.update(guess, ground_truth)
    assert band_width(20, 20) == 1
    assert float(metric.compute()[1]) == pytest.approx(10 / 30)
    plain = ConfusionMatrix(2)
    plain.update(guess, ground_truth)
    assert float(class_iou(plain.compute())[1]) == pytest.approx(30 / 42)


def test_many_images_at_once_and_many_classes() -> None:
    rng = np.random.default_rng(1)
    prediction, ground_truth = (torch.from_numpy(rng.integers(0, 254, (3, 9, 8)).astype(np.uint8)) for _ in range(2))
    ground_truth[0, 0] = VOID
    together, apart = BoundaryIoU(254), BoundaryIoU(254)
    together.update(prediction, ground_truth)
    for guess, mask in zip(prediction, ground_truth, strict=True):
        apart.update(guess, mask)
    assert together.union.sum() > 300
    assert torch.equal(together.union, apart.union)
    assert torch.equal(together.intersection, apart.intersection)


def test_invalid_input_raises_and_is_not_counted() -> None:
    metric = BoundaryIoU(3)
    good = torch.zeros(4, 5, dtype=torch.int64)
    with pytest.raises(BadMask, match=r"\(4, 5\).*\(1, 4, 5\)"):
        metric.update(good, good[None])
    with pytest.raises(BadMask, match=r"\(20,\)"):
        metric.update(good.flatten(), good.flatten())
    with pytest.raises(BadMask, match=r"target.*\b3\b.*0 to 2"):
        metric.update(good, good + 3)
    with pytest.raises(BadMask, match=r"prediction.*255"):
        metric.update(good + VOID, good)
    with pytest.raises(BadMask, match=r"torch\.float32"):
        metric.update(good.float(), good)
    assert metric.union.sum() == 0
    with pytest.raises(UserError, match="255"):
        BoundaryIoU(256)
    with pytest.raises(UserError, match=r"\b0\b"):
        BoundaryIoU(0)
    for dilation in (0, 1, math.nan):
        with pytest.raises(OutOfRange, match=f"{dilation}"):
            BoundaryIoU(3, dilation=dilation)
