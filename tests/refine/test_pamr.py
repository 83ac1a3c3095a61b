"""Pixel-adaptive mask refinement against its definition, written as loops."""

from __future__ import annotations

import math
import re
import statistics

import pytest
import torch

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.pamr import COARSE_DILATIONS, coarse_pamr, neighbour_weights, pamr
from tests.refine.scene import random_case, two_regions


def slow_step(scores: torch.Tensor, image: torch.Tensor, dilations: tuple[int, ...]) -> torch.Tensor:
    """One step for one image, pixel by pixel: scores [K, H, W], image [3, H, W]."""
    height, width = image.shape[1:]
    out = torch.zeros_like(scores)
    for y in range(height):
        for x in range(width):
            around = [
                (min(max(y + v * d, 0), height - 1), min(max(x + u * d, 0), width - 1))
                for d in dilations
                for v in (-1, 0, 1)
                for u in (-1, 0, 1)
                if v or u
            ]
            closeness = [0.0] * len(around)
            for c in range(3):
                centre = float(image[c, y, x])
                values = [float(image[c, v, u]) for v, u in around]
                deviation = statistics.stdev(values + [centre] * len(dilations))
                for n, value in enumerate(values):
                    closeness[n] -= abs(value - centre) / (0.1 * deviation + 1e-8) / 3
            top = max(closeness)
            exps = [math.exp(c - top) for c in closeness]
            for weight, (v, u) in zip(exps, around, strict=True):
                out[:, y, x] += weight / sum(exps) * scores[:, v, u]
    return out


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 9)])
def test_equals_loops(dilations) -> None:
    scores, image = random_case(0)
    expected = scores
    for _ in range(2):
        expected = torch.stack([slow_step(s, p, dilations) for s, p in zip(expected, image, strict=True)])
    torch.testing.assert_close(pamr(scores, image, iterations=2, dilations=dilations), expected, rtol=1e-9, atol=1e-12)


def test_probabilities_stay_probabilities_and_in_range() -> None:
    scores, image = random_case(1, grid=(3, 4), size=(9, 10))
    refined = pamr(scores, image)
    assert refined.shape == (2, 4, 9, 10)
    torch.testing.assert_close(refined.sum(1), torch.ones(2, 9, 10).double())
    assert refined.min() >= scores.min()
    assert refined.max() <= scores.max()
    torch.testing.assert_close(neighbour_weights(image, (1, 3)).sum(1), torch.ones(2, 9, 10).double())


def test_one_colour_is_the_plain_mean_of_the_neighbours() -> None:
    scores, _ = random_case(2, grid=(7, 7))
    refined = pamr(scores, torch.full((2, 3, 7, 7), 0.3), iterations=1, dilations=(1,))
    around = scores[..., 2:5, 3:6].sum((-2, -1)) - scores[..., 3, 4]
    torch.testing.assert_close(refined[..., 3, 4], around / 8)


def test_no_score_crosses_an_edge() -> None:
    """Two halves of plain colours: the scores of each half stay there."""
    image = torch.zeros(1, 3, 12, 12)
    image[..., 6:] = 1
    scores = torch.zeros(1, 2, 12, 12)
    scores[:, 0, :, :6], scores[:, 1, :, 6:] = 1, 1
    refined = pamr(scores, image, iterations=10, dilations=(1, 2))
    torch.testing.assert_close(refined, scores, atol=1e-3, rtol=0)


def test_no_iteration_only_resizes() -> None:
    scores, image = random_case(3)
    assert torch.equal(pamr(scores, image, iterations=0), scores)
    assert pamr(scores.half(), image.half()).dtype == torch.float32


@pytest.mark.parametrize("cell", [1, 4])
def test_a_noisy_scene_improves(cell) -> None:
    scene = two_regions()
    scores = scene.noisy_scores(cell)
    assert scene.miou(pamr(scores, scene.image)) > scene.miou(scores) + 0.1


def test_invalid_arguments_raise() -> None:
    scores, image = random_case(4)
    with pytest.raises(UserError, match=r"\(1, 3, 5, 7\).*\[2, 3, H, W\]"):
        pamr(scores, image[:1])
    with pytest.raises(UserError, match=r"\(4, 5, 7\)"):
        pamr(scores[0], image)
    with pytest.raises(OutOfRange, match="-1"):
        pamr(scores, image, iterations=-1)
    for dilations in ((), (0, 1)):
        with pytest.raises(OutOfRange, match=r"dilations.*" + re.escape(str(dilations))):
            pamr(scores, image, dilations=dilations)


def test_coarse_pamr_is_pamr_on_an_image_of_means():
    scores, image = torch.rand(2, 3, 4, 6), torch.rand(2, 3, 40, 60)
    small = image.unflatten(3, (30, 2)).mean(dim=4).unflatten(2, (20, 2)).mean(dim=3)
    expected = pamr(scores, small, iterations=3, dilations=COARSE_DILATIONS)
    torch.testing.assert_close(coarse_pamr(scores, image, side=20, iterations=3), expected)


def test_coarse_pamr_leaves_small_images_as_they_are():
    scores, image = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 12, 20)
    assert torch.equal(coarse_pamr(scores, image, side=96), pamr(scores, image, dilations=COARSE_DILATIONS))
    narrow = torch.rand(1, 3, 1, 500)
    assert coarse_pamr(scores, narrow).shape == (1, 2, 1, 500)


def test_coarse_pamr_refuses_a_side_below_1():
    with pytest.raises(OutOfRange):
        coarse_pamr(torch.rand(1, 2, 4, 4), torch.rand(1, 3, 8, 8), side=0)
