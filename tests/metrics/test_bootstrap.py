"""Bootstrap intervals against resampling in a loop, and against how often they contain the true value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, poisson
from sklearn.metrics import jaccard_score

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.bootstrap import BootstrapIntervals, counted_accuracy, counted_miou, poisson_weights

VOID = 255
FROZEN = [1, 0, 0, 1, 1, 0, 0, 0, 4, 0, 4, 0]  # the weights of street_01 with seed 0, which may never change


def images(seed: int, count: int, classes: int, side: int = 6) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Names, predictions and targets [B, H, W]; images are of different difficulty, some pixels void."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, (count, side, side))
    easy = rng.random((count, 1, 1))
    prediction = np.where(rng.random(target.shape) < easy, target, rng.integers(0, classes, target.shape))
    target = np.where(rng.random(target.shape) < 0.1, VOID, target)
    return [f"image_{seed}_{n}" for n in range(count)], torch.from_numpy(prediction), torch.from_numpy(target)


def metric_of(classes: int, image_ids, prediction, target, *, at_once: int = 1000, **options) -> BootstrapIntervals:
    metric = BootstrapIntervals(classes, **options)
    for n in range(0, len(image_ids), at_once):
        metric.update(image_ids[n : n + at_once], prediction[n : n + at_once], target[n : n + at_once])
    return metric


def test_equals_images_repeated_by_their_weights() -> None:
    """Each replicate written out: image n taken weight[n] times, all pixels scored at once by scikit-learn."""
    image_ids, prediction, target = images(0, 12, 4)
    metric = metric_of(4, image_ids, prediction, target, replicates=40, seed=5)
    weights = torch.stack([poisson_weights(image_id, replicates=40, seed=5) for image_id in image_ids])
    accuracies, overlaps = [], []
    for r in range(40):
        sampled = [n for n in range(12) for _ in range(int(weights[n, r]))]
        ground_truth, guess = target[sampled].flatten().numpy(), prediction[sampled].flatten().numpy()
        ground_truth, guess = ground_truth[ground_truth != VOID], guess[ground_truth != VOID]
        accuracies.append((ground_truth == guess).mean())
        overlaps.append(jaccard_score(ground_truth, guess, labels=np.union1d(ground_truth, guess), average="macro"))
        for c in range(4):
            expected = [((ground_truth == c) & (guess == c)).sum(), (ground_truth == c).sum(), (guess == c).sum()]
            assert metric.replicates[r, c].tolist() == expected
    for name, values in (("pixel_accuracy", accuracies), ("miou", overlaps)):
        interval = metric.compute()[name]
        assert interval.low == pytest.approx(np.quantile(values, 0.025))
        assert interval.high == pytest.approx(np.quantile(values, 0.975))
        assert interval.low < interval.value < interval.high
    labelled = target != VOID
    assert metric.compute()["pixel_accuracy"].value == pytest.approx(
        float((prediction == target)[labelled].double().mean())
    )
    assert metric.interval(counted_miou, level=0.5).low == pytest.approx(np.quantile(overlaps, 0.25))


def test_batches_order_and_processes_change_no_bit() -> None:
    image_ids, prediction, target = images(1, 11, 5)
    whole = metric_of(5, image_ids, prediction, target)
    order = np.random.default_rng(0).permutation(11)
    names = [image_ids[n] for n in order]
    mixed = metric_of(5, names[:4], prediction[order[:4]], target[order[:4]], at_once=3)
    mixed.merge_state(metric_of(5, names[4:], prediction[order[4:]], target[order[4:]], at_once=1))
    assert torch.equal(whole.replicates, mixed.replicates)
    assert torch.equal(whole.whole, mixed.whole)
    assert whole.compute() == mixed.compute()
    assert whole.compute() != metric_of(5, image_ids, prediction, target, seed=1).compute()


def test_weights_are_poisson_and_never_change() -> None:
    weights = torch.stack([poisson_weights(f"{n}", replicates=200) for n in range(300)]).numpy()
    counts = np.bincount(weights.ravel(), minlength=6)
    expected = poisson(1).pmf(range(5)) * weights.size
    assert chisquare([*counts[:5], counts[5:].sum()], [*expected, weights.size - expected.sum()]).pvalue > 0.001
    for table in (weights, weights.T):  # neither images nor replicates go together
        rest = np.corrcoef(table) - np.eye(len(table))
        assert abs(rest).max() < 6 / math.sqrt(table.shape[1])
    assert poisson_weights("street_01", replicates=12, seed=0).tolist() == FROZEN
    assert poisson_weights("street_01", replicates=6, seed=0).tolist() == FROZEN[:6]
    assert poisson_weights("\udcff.png", replicates=1).shape == (1,)


def test_intervals_contain_the_true_value_as_often_as_their_level() -> None:
    """200 samples of 60 images from a population of known accuracy; two classes, sizes and difficulty vary."""
    rng = np.random.default_rng(2)
    alpha, beta, covered = 6.0, 3.0, 0
    ground_truth = alpha / (alpha + beta)
    for trial in range(200):
        accuracies = rng.beta(alpha, beta, 60)
        guess = torch.from_numpy((rng.random((60, 1, 50)) > accuracies[:, None, None]).astype(np.int64))
        metric = BootstrapIntervals(2)
        metric.update([f"{trial}/{n}" for n in range(60)], guess, torch.zeros_like(guess))
        low, high = metric.interval(counted_accuracy)[1:]
        covered += low <= ground_truth <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_more_images_give_narrower_intervals() -> None:
    wide, narrow = (metric_of(3, *images(3, n, 3)).compute()["miou"] for n in (25, 400))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(4, rel=0.5)


def test_memory_does_not_grow() -> None:
    metric = BootstrapIntervals(171)
    sizes = set()
    for n in range(3):
        metric.update([f"{n}"], torch.full((1, 4, 4), 170), torch.full((1, 4, 4), 170))
        sizes.add(sum(state.numel() for state in metric.metric_state.values()))
    assert sizes == {201 * 171 * 3}
    assert metric.compute()["miou"].value == 1


def test_without_labelled_pixels_the_intervals_are_nan() -> None:
    metric = BootstrapIntervals(2)
    metric.update(["void"], torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), VOID))
    assert all(math.isnan(x) for interval in metric.compute().values() for x in interval)


def test_invalid_input_raises_and_is_not_counted() -> None:
    metric, label = BootstrapIntervals(2), torch.zeros(2, 3, 3).long()
    with pytest.raises(BadMask, match=r"\['a'\].*2"):
        metric.update(["a"], label, label)
    with pytest.raises(BadMask, match=r"'ab'.*2"):
        metric.update("ab", label, label)
    with pytest.raises(BadMask, match=r"\b2\b"):
        metric.update(["a", "b"], label, label + 2)
    assert metric.replicates.sum() == 0
    with pytest.raises(OutOfRange, match="39"):
        BootstrapIntervals(2, replicates=39)
    with pytest.raises(UserError, match=r"\b1\b"):
        BootstrapIntervals(2, ignore_index=1)
    with pytest.raises(OutOfRange, match="95"):
        metric.interval(counted_miou, level=95)


def test_classes_that_an_image_does_not_show_change_nothing() -> None:
    image_ids, prediction, target = images(3, 5, 3)
    few, many = (metric_of(count, image_ids, prediction, target, replicates=40) for count in (3, 200))
    assert torch.equal(few.replicates, many.replicates[:, :3])
    assert not many.replicates[:, 3:].any()
