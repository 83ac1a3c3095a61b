"""Decisions with confidence against the measures in numpy, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ca_seg.errors import BadMask, OutOfRange, UnknownName
from ca_seg.heads import confident
from ca_seg.heads.confident import agreement, decide_with_confidence, tempered
from ca_seg.heads.zero_shot import candidates, decide
from ca_seg.labels.confidence import MEASURES


def maps_of(classes, seed=0, height=5, width=7):
    return torch.rand(1, classes, height, width, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


@pytest.mark.parametrize("room", [2**24, 300])  # at once, and in strips of a row or two
@pytest.mark.parametrize("classes", [1, 2, 6])
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_measures_are_those_of_numpy(monkeypatch, measure, classes, room):
    monkeypatch.setattr(confident, "ROOM", room)
    maps = maps_of(classes)
    found = decide_with_confidence(maps, 23, 31, measure=measure)
    scores = decide(maps, 23, 31).scores[0]
    assert found.mask.dtype == torch.uint8
    assert torch.equal(found.mask.long(), scores.argmax(dim=0))
    np.testing.assert_allclose(found.confidence.numpy(), MEASURES[measure](scores.numpy()), atol=2e-5)


def test_few_classes_that_matter_give_what_all_give(monkeypatch):
    maps = (maps_of(40) * torch.linspace(0.1, 3, 40)[None, :, None, None]) ** 4
    whole = decide_with_confidence(maps, 50, 60)
    monkeypatch.setattr(confident, "WORTH_PRUNING", 1)
    monkeypatch.setattr(confident, "ROOM", 9_000)
    assert len(candidates(maps, places=2)) < 40
    pruned = decide_with_confidence(maps, 50, 60)
    assert torch.equal(pruned.mask, whole.mask)
    torch.testing.assert_close(pruned.confidence, whole.confidence, atol=1e-5, rtol=0)


def test_the_second_best_is_among_the_candidates_for_two_places():
    maps = maps_of(12, seed=3) ** 3
    second = decide(maps, 64, 80).scores[0].topk(2, dim=0).indices.unique()
    assert set(second.tolist()) <= set(candidates(maps, places=2).tolist())


@pytest.mark.parametrize("measure", sorted(MEASURES))
@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_a_temperature_divides_log_shares(measure, temperature):
    maps = maps_of(5)
    scores = decide(maps, 20, 20).scores[0].double().numpy()
    shares = np.exp(np.log(scores) / temperature)
    shares /= shares.sum(axis=0)
    found = decide_with_confidence(maps, 20, 20, measure=measure, temperature=temperature)
    np.testing.assert_allclose(found.confidence.numpy(), MEASURES[measure](shares), atol=2e-5)
    np.testing.assert_allclose(tempered(torch.from_numpy(scores)[None], temperature)[0].numpy(), shares, atol=1e-9)


def test_pixels_without_any_score_are_not_sure():
    maps = torch.zeros(1, 3, 4, 4)
    maps[:, 1, :, 2:] = 1
    for measure in MEASURES:
        sure = decide_with_confidence(maps, 4, 4, measure=measure).confidence
        assert sure[:, :2].eq(0).all()
        assert sure[:, 2:].eq(1).all()


def test_agreement_is_the_share_of_draws_that_say_the_same():
    draws = [maps_of(3, seed=seed) for seed in range(4)]
    mask = decide(sum(draws) / 4, 9, 11).mask[0].to(torch.uint8)
    found = agreement(draws, mask)
    for y in range(9):
        for x in range(11):
            own = [int(decide(draw, 9, 11).scores[0, :, y, x].argmax()) == int(mask[y, x]) for draw in draws]
            assert float(found[y, x]) == pytest.approx(np.mean(own))
    assert 0 < float(found.mean()) < 1


def test_what_cannot_be_read_is_refused():
    maps = maps_of(3)
    with pytest.raises(UnknownName, match="margin"):
        decide_with_confidence(maps, 4, 4, measure="margins")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(OutOfRange, match="temperature"):
            decide_with_confidence(maps, 4, 4, temperature=temperature)
    for bad in (-0.1, float("nan"), float("inf")):
        broken = maps.clone()
        broken[0, 1, 2, 3] = bad
        with pytest.raises(BadMask, match="have no confidence"):
            decide_with_confidence(broken, 4, 4)
