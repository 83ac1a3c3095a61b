"""Fitted confidence against scikit-learn, scipy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss

from ca_seg.confidence.calibration import NEVER
from ca_seg.confidence.fit import TargetPrecision, fit_confidence
from ca_seg.confidence.label_quality import LabelQuality
from ca_seg.confidence.pixel_sample import (
    LabelledMaps,
    LabelledMapsReader,
    PixelSample,
    labelled_pixels,
    probabilities_at,
)
from ca_seg.decision.argmax import predict_mask
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.vocabulary import Vocabulary
from tests.confidence.numpy_measures import MEASURES, margin, temper
from tests.function_predictor import FunctionPredictor


def random_pixels(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, K], and ground truth sampled from the probabilities at `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weights = np.exp(logits / temperature)
    ground_truth = (rng.random((count, 1)) > (weights / weights.sum(1, keepdims=True)).cumsum(1)).sum(1)
    return probabilities.astype(np.float32), ground_truth.clip(max=classes - 1)


def test_the_temperature_of_two_classes_is_that_of_a_logistic_regression() -> None:
    """One weight on the difference of logs, without intercept or penalty: the weight is 1 / T."""
    probabilities, ground_truth = random_pixels(5000, 2, 1.7)
    logs = np.log(probabilities.astype(np.float64))
    fitted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit((logs[:, 1:] - logs[:, :1]), ground_truth)
    result = fit_confidence(probabilities, ground_truth, ("a", "b"), TargetPrecision(0.5))
    assert result.temperature == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-4)


@pytest.mark.parametrize(("temperature", "target"), [(0.5, 0.97), (2.0, 0.6)])
def test_the_temperature_and_figures_of_many_classes_against_scipy_and_sklearn(temperature, target) -> None:
    probabilities, ground_truth = random_pixels(8000, 7, temperature)
    names = tuple("abcdefg")
    result = fit_confidence(probabilities, ground_truth, names, TargetPrecision(target, "entropy"))

    def loss(t: float) -> float:
        tempered = probabilities.astype(np.float64) ** (1 / t)
        return log_loss(ground_truth, tempered / tempered.sum(1, keepdims=True), labels=range(7))

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-6})
    assert result.temperature == pytest.approx(best.x, rel=1e-3)
    assert result.figures["nll_after"] == pytest.approx(best.fun, abs=1e-5)
    assert result.figures["nll_before"] == pytest.approx(loss(1.0), abs=1e-5)
    assert result.figures["ece_after"] < 0.3 * result.figures["ece_before"]
    confidence = MEASURES["entropy"](temper(probabilities.T[:, :, None], result.temperature))[:, 0]
    right = probabilities.argmax(1) == ground_truth
    retained = confidence.astype(np.float64) >= result.thresholds
    assert result.figures["precision"] == right[retained].mean() >= target
    assert result.figures["coverage"] == retained.mean()
    lower = confidence.astype(np.float64) >= result.thresholds - 1 / 1024
    assert right[lower].mean() < target  # it is the lowest
    for threshold, precision, coverage in result.curves["after"]:
        above = confidence >= threshold
        assert (precision, coverage) == (right[above].mean(), above.mean())


def test_a_threshold_of_each_class() -> None:
    """Class a is always right, b right above 0.5, c never, d has too few pixels."""
    rng = np.random.default_rng(0)
    guess = np.repeat([0, 1, 2, 3], [1000, 1000, 1000, 50])
    top = rng.uniform(0.4, 0.99, len(guess))
    probabilities = np.repeat((1 - top[:, None]) / 3, 4, axis=1)
    probabilities[np.arange(len(guess)), guess] = top
    confidence = margin(probabilities.T[:, :, None])[:, 0]
    ground_truth = np.select([guess == 0, guess == 1, guess == 2], [0, np.where(confidence > 0.5, 1, 2), 0], 3)
    result = fit_confidence(
        probabilities,
        ground_truth,
        tuple("abcd"),
        TargetPrecision(0.95, per_class=True, min_pixels=100),
        temperature=1.0,
    )
    assert result.temperature == 1
    assert result.thresholds["a"] == 0
    confidence_of_b = confidence[guess == 1]
    retained = confidence_of_b >= result.thresholds["b"]
    assert (confidence_of_b > 0.5)[retained].mean() >= 0.95
    assert retained.sum() >= (confidence_of_b > 0.5).sum()
    assert result.thresholds["c"] == result.thresholds["d"] == NEVER
    assert list(result.never) == ["c", "d"]
    assert "0.000" in result.never["c"]
    assert "50" in result.never["d"]
    assert result.figures["coverage"] == pytest.approx((1000 + retained.sum()) / len(guess))
    with pytest.raises(OutOfRange, match="5000"):
        fit_confidence(
            probabilities,
            ground_truth,
            tuple("abcd"),
            TargetPrecision(0.95, per_class=True, min_pixels=5000),
            temperature=1.0,
        )


def test_targets_that_cannot_be_met_raise() -> None:
    for precision in (0, 1.5, float("nan")):
        with pytest.raises(OutOfRange, match=f"{precision:g}"):
            TargetPrecision(precision)
    with pytest.raises(UnknownName, match="'size'"):
        TargetPrecision(0.9, "size")
    with pytest.raises(OutOfRange, match="min_pixels"):
        TargetPrecision(0.9, min_pixels=0)
    probabilities, ground_truth = random_pixels(2000, 5, 3.0)
    confidence, guess = margin(probabilities.T[:, :, None])[:, 0], probabilities.argmax(1)
    best = confidence > 0.9
    ground_truth[best] = guess[best]
    with pytest.raises(OutOfRange, match=str(int(best.sum()) + 500)):
        fit_confidence(
            probabilities,
            ground_truth,
            tuple("abcde"),
            TargetPrecision(1.0, min_pixels=int(best.sum()) + 500),
            temperature=1.0,
        )
    last_step = confidence > np.floor(confidence.max() * 1024) / 1024
    ground_truth[last_step] = (guess[last_step] + 1) % 5
    with pytest.raises(OutOfRange, match=r"1\.0"):
        fit_confidence(probabilities, ground_truth, tuple("abcde"), TargetPrecision(1.0), temperature=1.0)


@pytest.mark.parametrize(("height", "width"), [(40, 30), (7, 90), (5, 4)])
def test_probabilities_at_pixels_are_those_of_the_decision(height: int, width: int) -> None:
    maps = torch.rand(1, 6, 5, 8)
    indices = torch.arange(height * width)
    scores = predict_mask(maps, height, width).scores[0].flatten(1).T
    np.testing.assert_allclose(
        probabilities_at(maps, height, width, indices), (scores / scores.sum(1, keepdim=True)).numpy(), atol=2e-6
    )
    assert probabilities_at(maps * 0, height, width, indices[:3]).tolist() == [[0.0] * 6] * 3


def labelled(image_id: str, height: int = 20, width: int = 30, void: int = 0) -> LabelledMaps:
    torch.manual_seed(len(image_id))
    mask = torch.randint(0, 4, (height, width))
    mask.flatten()[:void] = 255
    return LabelledMaps(image_id, f"{image_id}.png", torch.rand(1, 4, 5, 6), mask)


def test_a_sample_has_as_many_pixels_of_each_image_and_no_void() -> None:
    sample = PixelSample(4, 3, 300)
    for image_id, void in (("a", 0), ("bb", 590), ("ccc", 100)):
        sample.add(labelled(image_id, void=void))
    assert (len(sample.ground_truth), sample.images) == (100 + 10 + 100, 3)
    assert sample.ground_truth.max() < 4
    np.testing.assert_allclose(sample.probabilities.sum(1), 1, atol=1e-6)
    small_sample = PixelSample(4, 1000, 50)  # more images than pixels
    for _ in range(60):
        small_sample.add(labelled("a"))
    assert len(small_sample.ground_truth) == 50
    second = PixelSample(4, 3, 300)
    second.add(labelled("a"))
    np.testing.assert_array_equal(second.probabilities, sample.probabilities[:100])  # the same pixels in every run


def test_all_pixels_of_an_image_come_once() -> None:
    image = labelled("a", 150, 130, void=200)
    parts = list(labelled_pixels(image))
    assert len(parts) == 2
    ground_truth = image.mask.flatten()
    np.testing.assert_array_equal(
        np.concatenate([part[1] for part in parts]), ground_truth[ground_truth != 255].numpy()
    )


def test_label_quality_against_sklearn() -> None:
    probabilities, ground_truth = random_pixels(4000, 6, 0.7)
    thresholds = np.array([0.3, 0.3, 0.5, 0.1, NEVER, 0.0])
    quality = LabelQuality(6, temperature=0.8, measure="max_probability", thresholds=thresholds)
    for part in np.array_split(np.arange(4000), 3):
        quality.update(probabilities[part], ground_truth[part])
    guess = probabilities.argmax(1)
    confidence = MEASURES["max_probability"](temper(probabilities.T[:, :, None], 0.8))[:, 0].astype(np.float64)

    def expected(retained: np.ndarray) -> tuple[float, float, float, int]:
        matrix = confusion_matrix(ground_truth[retained], guess[retained], labels=range(6))
        union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        iou = matrix.diagonal()[union > 0] / union[union > 0]
        return retained.mean(), (guess == ground_truth)[retained].mean(), iou.mean(), int((union > 0).sum())

    for point in quality.points():
        scores = (point.coverage, point.precision, point.miou, point.classes)
        assert scores == pytest.approx(expected(confidence >= point.threshold), abs=1e-6)
    retained = quality.at_thresholds()
    assert (retained.coverage, retained.precision, retained.miou, retained.classes) == pytest.approx(
        expected(confidence >= thresholds[guess])
    )
    assert not (guess[confidence >= thresholds[guess]] == 4).any()
    coverage, precision = quality.curve()[0]
    assert (coverage, precision) == (1, (guess == ground_truth).mean())


def test_maps_below_zero_raise() -> None:
    class Raw:
        def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
            return torch.full((1, 2, 3, 3), -1.0)

    batch = {
        "image": torch.zeros(1, 3, 8, 8),
        "mask": torch.zeros(1, 8, 8).long(),
        "image_id": ["a"],
        "path": ["a.png"],
    }
    reader = LabelledMapsReader(FunctionPredictor(lambda images, seeds: Raw()), Vocabulary.from_names(["a", "b"]))
    with pytest.raises(UserError, match=r"model\.softmax"):
        list(reader.read([batch | {"skipped": []}]))
