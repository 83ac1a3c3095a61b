"""Masks with confidence against the measures in NumPy, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ca_seg.confidence import confident_mask, measures
from ca_seg.confidence.confident_mask import agreement, predict_confident_mask
from ca_seg.confidence.temperature import apply_temperature
from ca_seg.decision.argmax import predict_mask
from ca_seg.decision.candidates import argmax_candidates
from ca_seg.decision.strips import strips
from ca_seg.errors import BadMask, OutOfRange, UnknownName
from tests.confidence.numpy_measures import MEASURES


def maps_of(classes, seed=0, height=5, width=7):
    return torch.rand(1, classes, height, width, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


@pytest.mark.parametrize("cut", [2**20, 1])  # at once, and between rows of tokens
@pytest.mark.parametrize("strip", [2**24, 300])  # and in strips of a row or two
@pytest.mark.parametrize("classes", [1, 2, 6])
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_measures_equal_those_of_numpy(monkeypatch, measure, classes, strip, cut):
    monkeypatch.setattr(confident_mask, "MAX_STRIP_SCORES", strip)
    monkeypatch.setattr("ca_seg.decision.strips.CACHED_SCORES", strip)
    monkeypatch.setattr(confident_mask, "MIN_SCORES_TO_CUT", cut)
    maps = maps_of(classes)
    result = predict_confident_mask(maps, 23, 31, measure=measure)
    scores = predict_mask(maps, 23, 31).scores[0]
    assert result.mask.dtype == torch.uint8
    assert_best_class(result.mask, scores)
    np.testing.assert_allclose(result.confidence.numpy(), MEASURES[measure](scores.numpy()), atol=2e-5)


def assert_best_class(mask, scores):
    """The best class at every pixel, except where rounding decides."""
    assert (mask.long() == scores.argmax(dim=0)).float().mean() > 0.99
    chosen = scores.gather(0, mask.long()[None])[0]
    torch.testing.assert_close(chosen, scores.amax(dim=0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(50, 60), (5, 7), (3, 2), (1, 1), (200, 9)])
@pytest.mark.parametrize("measure", ["margin", "max_probability", None])
def test_excluding_hopeless_classes_changes_nothing(monkeypatch, measure, size):
    maps = (maps_of(40) * torch.linspace(0.1, 3, 40)[None, :, None, None]) ** 4
    monkeypatch.setattr(confident_mask, "MIN_SCORES_TO_CUT", 1)
    monkeypatch.setattr(confident_mask, "MIN_PIXELS_PER_TOKEN", 0)
    scores = predict_mask(maps, *size).scores[0]
    result = predict_confident_mask(maps, *size, measure=measure)
    assert_best_class(result.mask, scores)
    if measure is not None:
        np.testing.assert_allclose(result.confidence.numpy(), MEASURES[measure](scores.numpy()), atol=2e-5)
    most = max(len(strip.classes) for strip in strips(maps, 200, 90, rank=2))
    assert most < 30  # of 40: some classes were excluded


def test_candidates_of_rank_2_include_the_second_best():
    maps = maps_of(12, seed=3) ** 3
    second = predict_mask(maps, 64, 80).scores[0].topk(2, dim=0).indices.unique()
    candidates = argmax_candidates(maps, rank=2)[0].flatten(1).any(dim=1).nonzero()
    assert set(second.tolist()) <= set(candidates.flatten().tolist())


@pytest.mark.parametrize("measure", sorted(MEASURES))
@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_a_temperature_divides_log_probabilities(measure, temperature):
    maps = maps_of(5)
    scores = predict_mask(maps, 20, 20).scores[0].double().numpy()
    probabilities = np.exp(np.log(scores) / temperature)
    probabilities /= probabilities.sum(axis=0)
    result = predict_confident_mask(maps, 20, 20, measure=measure, temperature=temperature)
    np.testing.assert_allclose(result.confidence.numpy(), MEASURES[measure](probabilities), atol=2e-5)
    np.testing.assert_allclose(
        apply_temperature(torch.from_numpy(scores)[None], temperature)[0].numpy(), probabilities, atol=1e-9
    )


def test_pixels_without_any_score_have_no_confidence():
    maps = torch.zeros(1, 3, 4, 4)
    maps[:, 1, :, 2:] = 1
    for measure in MEASURES:
        confidence = predict_confident_mask(maps, 4, 4, measure=measure).confidence
        assert confidence[:, :2].eq(0).all()
        assert confidence[:, 2:].eq(1).all()


@pytest.mark.parametrize("side", [8, 80])  # all classes at once, and plane by plane
def test_of_equal_scores_the_first_class_wins_and_the_margin_is_0(side):
    maps = torch.full((1, 5, side, side), 0.1)
    maps[0, 2], maps[0, 4] = 0.4, 0.4
    assert (side * side < measures.MIN_PLANE_PIXELS) == (side == 8)
    result = predict_confident_mask(maps, side, side)
    assert (result.mask == 2).all()
    assert (result.confidence == 0).all()
    maps[0, 1] = 0.3
    maps[0, 4] = 0.2
    result = predict_confident_mask(maps, side, side)
    torch.testing.assert_close(result.confidence, torch.full((side, side), 0.1 / 1.1))


def test_agreement_is_the_fraction_of_noised_copies_with_the_same_class():
    noised_copies = [maps_of(3, seed=seed) for seed in range(4)]
    mask = predict_mask(sum(noised_copies) / 4, 9, 11).mask[0].to(torch.uint8)
    fractions = agreement(noised_copies, mask)
    for y in range(9):
        for x in range(11):
            agrees = [
                int(predict_mask(copy, 9, 11).scores[0, :, y, x].argmax()) == int(mask[y, x]) for copy in noised_copies
            ]
            assert float(fractions[y, x]) == pytest.approx(np.mean(agrees))
    assert 0 < float(fractions.mean()) < 1


def test_invalid_arguments_raise():
    maps = maps_of(3)
    with pytest.raises(UnknownName, match="margin"):
        predict_confident_mask(maps, 4, 4, measure="margins")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(OutOfRange, match=rf"temperature.*{temperature}"):
            predict_confident_mask(maps, 4, 4, temperature=temperature)
    for bad in (-0.1, float("nan"), float("inf")):
        broken = maps.clone()
        broken[0, 1, 2, 3] = bad
        with pytest.raises(BadMask):
            predict_confident_mask(broken, 4, 4)
