"""Background by threshold against a loop over pixels."""

from __future__ import annotations

import pytest
import torch

from ca_seg.errors import OutOfRange
from ca_seg.refine.background import background_by_threshold, insert_background
from tests.refine.scene import random_case, two_regions


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.5, 1.0])
@pytest.mark.parametrize("background", [0, 2, 3])
def test_equals_a_loop_over_pixels(threshold, background) -> None:
    scores, _ = random_case(0, grid=(9, 8))
    mask = background_by_threshold(scores, background, threshold).argmax(1)
    outcomes = set()
    for n in range(2):
        for y in range(9):
            for x in range(8):
                probabilities = scores[n, :, y, x].tolist()
                winner = max((k for k in range(4) if k != background), key=lambda k, s=probabilities: s[k])
                certain = probabilities[winner] >= threshold and probabilities[winner] > probabilities[background]
                assert int(mask[n, y, x]) == (winner if certain else background)
                outcomes.add(certain)
    assert outcomes == ({False} if threshold == 1 else {True, False})


@pytest.mark.parametrize("background", [0, 2, 4])
def test_a_background_class_is_inserted(background) -> None:
    scores, _ = random_case(1, grid=(9, 8))
    out = insert_background(scores, background, 0.4)
    assert out.shape == (2, 5, 9, 8)
    rest = [k for k in range(5) if k != background]
    assert torch.equal(out[:, rest], scores)
    mask, best = out.argmax(1), scores.amax(1)
    assert torch.equal(mask == background, best < 0.4)
    assert torch.equal(torch.tensor(rest)[scores.argmax(1)][best >= 0.4], mask[best >= 0.4])


def test_the_input_and_the_foreground_are_unchanged() -> None:
    scores, _ = random_case(2)
    before = scores.clone()
    out = background_by_threshold(scores, 1, 0.9)
    assert torch.equal(scores, before)
    assert torch.equal(out[:, [0, 2, 3]], before[:, [0, 2, 3]])
    assert torch.equal(background_by_threshold(scores, 1, 0.0), before)


def test_a_higher_threshold_gives_more_background() -> None:
    scores, _ = random_case(3, grid=(20, 20))
    areas = [(background_by_threshold(scores, 0, t).argmax(1) == 0).sum() for t in (0, 0.3, 0.4, 0.6, 0.9)]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


def test_a_scene_without_a_word_for_the_background() -> None:
    """The disk is known, the rest is not: its foreground probabilities are low."""
    scene = two_regions()
    scores = scene.noisy_scores(1, noise=0.2).clone()
    scores[:, 0] = 0
    assert scene.miou(background_by_threshold(scores, 0, 0.5)) > scene.miou(scores) + 0.3


def test_invalid_arguments_raise() -> None:
    scores, _ = random_case(4)
    with pytest.raises(OutOfRange, match=r"\b4\b"):
        background_by_threshold(scores, 4, 0.5)
    with pytest.raises(OutOfRange, match="-1"):
        insert_background(scores, -1, 0.5)
    with pytest.raises(OutOfRange, match="50"):
        background_by_threshold(scores, 0, 50)
    with pytest.raises(OutOfRange):
        background_by_threshold(scores - 1, 0, 0.5)
