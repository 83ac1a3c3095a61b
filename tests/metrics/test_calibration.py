"""Calibration error against torchmetrics' own and a loop; the temperature against a given one and a plain search."""

from __future__ import annotations

import math
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.optimize import minimize_scalar
from torchmetrics.classification import MulticlassCalibrationError

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.calibration import CalibrationError, fit_temperature

VOID = 255


def pixels(seed: int, classes: int, shape: tuple[int, ...], *, void: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [*shape, K] and labels [*shape]: overconfident, right more often than by chance."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, classes, generator=generator) * 2
    target = torch.distributions.Categorical(logits=logits / 3).sample()
    target[torch.rand(shape, generator=generator) < void] = VOID
    return logits.softmax(-1), target


def metric_of(probabilities: torch.Tensor, target: torch.Tensor, bins: int = 15) -> CalibrationError:
    metric = CalibrationError(bins)
    metric.update(probabilities.amax(-1), probabilities.argmax(-1), target)
    return metric


@pytest.mark.parametrize("classes", [2, 7, 254])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_equals_torchmetrics(classes, bins) -> None:
    torch.manual_seed(0)
    probabilities, target = pixels(1, classes, (3000,))
    theirs = MulticlassCalibrationError(classes, n_bins=bins, norm="l1", ignore_index=VOID)
    theirs.update(probabilities, target)
    ours = metric_of(probabilities, target, bins).compute()
    assert ours.dtype == torch.float64
    assert float(ours) > 0.05
    assert float(ours) == pytest.approx(float(theirs.compute()), abs=2e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from([0.0, 0.3, 1.0]))
def test_table_and_error_equal_a_loop(seed, bins, void) -> None:
    """Confidences in 64ths, which are exact, and often lie on the edge of a bin."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, 65, 200)
    right = rng.random(200) < confidence / 64
    target = np.where(rng.random(200) < void, VOID, 3)
    metric = CalibrationError(bins)
    metric.update(torch.from_numpy(confidence / 64), torch.from_numpy(np.where(right, 3, 1)), torch.from_numpy(target))
    counted = [(int(c), bool(r)) for c, r, t in zip(confidence, right, target, strict=True) if t != VOID]
    table, error = metric.reliability(), 0.0
    for m in range(bins):
        in_bin = [(c, r) for c, r in counted if (m * 64 < c * bins <= (m + 1) * 64) or (m == 0 and c == 0)]
        assert int(table.count[m]) == len(in_bin)
        assert float(table.low[m]) == pytest.approx(m / bins)
        assert float(table.high[m]) == pytest.approx((m + 1) / bins)
        if not in_bin:
            assert table.confidence[m].isnan()
            assert table.accuracy[m].isnan()
            continue
        mean, accuracy = np.mean([c / 64 for c, _ in in_bin]), np.mean([r for _, r in in_bin])
        assert float(table.confidence[m]) == pytest.approx(mean)
        assert float(table.accuracy[m]) == pytest.approx(accuracy)
        error += len(in_bin) / len(counted) * abs(mean - accuracy)
    assert float(metric.compute()) == pytest.approx(error if counted else math.nan, nan_ok=True)


def test_order_and_split_change_no_bit() -> None:
    torch.manual_seed(0)
    probabilities, target = pixels(2, 5, (4000,))
    whole = metric_of(probabilities, target)
    order = torch.randperm(4000)
    first, second = order[:137], order[137:]
    halves = metric_of(probabilities[first], target[first])
    halves.merge_state(metric_of(probabilities[second], target[second]))
    for state in ("count", "confidence", "hits"):
        assert torch.equal(getattr(whole, state), getattr(halves, state))
    assert float(whole.compute()) == float(halves.compute())


def test_by_hand() -> None:
    """Ten pixels of confidence 0.9, nine right: 0. All ten right: 0.1. One pixel, confident and wrong: 1."""
    tenth = torch.full((10,), 0.9)
    for wrong, expected in ((1, 0.0), (0, 0.1)):
        metric = CalibrationError()
        metric.update(tenth, torch.zeros(10).long(), torch.tensor([1] * wrong + [0] * (10 - wrong)))
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)
    metric = CalibrationError()
    metric.update(torch.ones(1), torch.zeros(1).long(), torch.ones(1).long())
    assert float(metric.compute()) == 1
    assert int(metric.reliability().count[-1]) == 1


def test_invalid_input_raises_and_is_not_counted() -> None:
    metric, label = CalibrationError(), torch.zeros(2, 2).long()
    for value in (1.5, -0.1, math.nan):
        with pytest.raises(OutOfRange, match=re.escape(str(value))):
            metric.update(torch.tensor([[0.5, 0.5], [0.5, value]]), label, label)
    with pytest.raises(BadMask, match=r"\(2, 2\).*\(2, 2\).*\(2,\)"):
        metric.update(torch.ones(2, 2), label, label[0])
    with pytest.raises(BadMask, match=r"torch\.float32"):
        metric.update(torch.ones(2, 2), label.float(), label)
    assert metric.count.sum() == 0
    metric.update(
        torch.tensor([1 + 1e-6, math.nan]), label[0], torch.tensor([0, VOID])
    )  # rounding; void is not counted
    assert metric.count.sum() == 1
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        CalibrationError(0)


def nll(temperature: float, logits: torch.Tensor, target: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, target, ignore_index=VOID))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("classes", [2, 20])
def test_recovers_a_known_temperature(temperature, classes) -> None:
    torch.manual_seed(3)
    logits = torch.randn(40_000, classes) * 2
    target = torch.distributions.Categorical(logits=logits).sample()
    fitted = fit_temperature(logits * temperature, target)
    assert fitted == pytest.approx(temperature, rel=0.03)


def test_minimises_the_log_likelihood_loss_and_calibrates() -> None:
    torch.manual_seed(4)
    probabilities, target = pixels(5, 6, (2, 40, 50))
    logits = probabilities.log().movedim(-1, 1)  # [B, K, H, W]
    temperature = fit_temperature(logits, target)
    search = minimize_scalar(
        lambda t: nll(t, logits, target), bounds=(0.1, 20), method="bounded", options={"xatol": 1e-7}
    )
    assert temperature == pytest.approx(search.x, rel=1e-4)
    assert nll(temperature, logits, target) <= search.fun + 1e-12
    after = (logits / temperature).softmax(1).movedim(1, -1)
    assert torch.equal(after.argmax(-1), probabilities.argmax(-1))
    assert metric_of(after, target).compute() < 0.2 * metric_of(probabilities, target).compute()


def test_where_no_temperature_fits_it_raises() -> None:
    logits = torch.eye(4)
    with pytest.raises(UserError):
        fit_temperature(logits, torch.arange(4))
    with pytest.raises(UserError):
        fit_temperature(logits, torch.arange(4).roll(1))
    with pytest.raises(UserError):
        fit_temperature(logits, torch.full((4,), VOID))
    with pytest.raises(OutOfRange, match="NaN"):
        fit_temperature(logits.log(), torch.arange(4))
    with pytest.raises(BadMask, match=r"\b4\b.*0 to 3"):
        fit_temperature(logits, torch.arange(4) + 1)
    with pytest.raises(BadMask, match=r"\(4, 4\).*\(4, 1\)"):
        fit_temperature(logits, torch.zeros(4, 1).long())
