"""Balance against a plain loop and by hand."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.balance import balanced
from tests.refine.scene import random_case


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.01, 0.2]))
def test_it_equals_a_loop(seed: int, power: float, least: float) -> None:
    scores = random_case(seed, grid=(3, 4))[0]
    result = balanced(scores, power=power, least=least)
    for planes, refined in zip(scores.tolist(), result.tolist(), strict=True):
        means = [sum(map(sum, plane)) / 12 for plane in planes]
        for y in range(3):
            for x in range(4):
                raised = [plane[y][x] / (mean + least) ** power for plane, mean in zip(planes, means, strict=True)]
                total = sum(plane[y][x] for plane in planes)
                expected = [value / sum(raised) * total for value in raised]
                assert [plane[y][x] for plane in refined] == pytest.approx(expected, rel=1e-4)


def test_a_small_class_wins_the_pixels_where_it_is_likely() -> None:
    wall, banana = torch.full((4, 4), 0.9), torch.full((4, 4), 0.01)
    wall[0, 0], banana[0, 0] = 0.55, 0.45
    scores = torch.stack([wall, banana, 1 - wall - banana])[None]
    assert (scores.argmax(dim=1) == 0).all()
    won = balanced(scores).argmax(dim=1)[0] == 1
    assert won.nonzero().tolist() == [[0, 0]]


def test_no_power_changes_nothing_and_no_score_stays_none() -> None:
    scores = random_case(3)[0]
    torch.testing.assert_close(balanced(scores, power=0.0), scores)
    assert (balanced(torch.zeros(1, 2, 3, 3)) == 0).all()


@pytest.mark.parametrize("options", [{"power": -0.1}, {"power": 1.1}, {"least": 0.0}, {"power": float("nan")}])
def test_impossible_settings_are_refused(options) -> None:
    with pytest.raises(OutOfRange):
        balanced(torch.rand(1, 2, 3, 3), **options)


def test_impossible_scores_are_refused() -> None:
    with pytest.raises(OutOfRange, match="negative"):
        balanced(torch.tensor([-1.0, 1.0])[None, :, None, None])
    with pytest.raises(UserError):
        balanced(torch.rand(2, 3, 3))
