"""The guided filter against its definition: a least-squares fit in every window, by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.guided_filter import guided_filter
from tests.refine.scene import random_case, two_regions


def slow_filter(scores: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """One image: scores [K, H, W], image [3, H, W]. Each window is a ridge regression, solved separately."""
    classes, height, width = scores.shape
    total, times = np.zeros_like(scores), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - radius), y + radius + 1)
            columns = slice(max(0, x - radius), x + radius + 1)
            colours = image[:, rows, columns].reshape(3, -1).T
            values = scores[:, rows, columns].reshape(classes, -1).T
            count, centred = len(colours), colours - colours.mean(0)
            # min over a, b of mean (a . I + b - score)^2 + epsilon |a|^2; the penalty is three more rows
            design = np.vstack(
                [
                    np.hstack([centred, np.ones((count, 1))]),
                    np.hstack([np.sqrt(epsilon * count) * np.eye(3), np.zeros((3, 1))]),
                ]
            )
            solved = np.linalg.lstsq(design, np.vstack([values, np.zeros((3, classes))]), rcond=None)[0]
            whole = (image.reshape(3, -1).T - colours.mean(0)) @ solved[:3] + solved[3]
            total[:, rows, columns] += whole.T.reshape(classes, height, width)[:, rows, columns]
            times[rows, columns] += 1
    return total / times


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-2), (3, 1e-4)])
def test_equals_a_fit_in_every_window(radius, epsilon) -> None:
    """Windows are cut at the border; a pixel takes the mean over all windows that hold it."""
    scores, image = random_case(0, grid=(11, 12), size=(11, 12), classes=3)
    refined = guided_filter(scores, image, radius=radius, epsilon=epsilon)
    for n in range(2):
        expected = slow_filter(scores[n].numpy(), image[n].numpy(), radius, epsilon)
        np.testing.assert_allclose(refined[n], expected, rtol=1e-8, atol=1e-10)


def test_probabilities_sum_to_one_and_a_constant_map_is_unchanged() -> None:
    scores, image = random_case(1, grid=(6, 5), size=(20, 17))
    refined = guided_filter(scores, image, radius=2)
    assert refined.shape == (2, 4, 20, 17)
    torch.testing.assert_close(refined.sum(1), torch.ones(2, 20, 17).double())
    even = torch.full_like(scores, 0.25)
    torch.testing.assert_close(guided_filter(even, image, radius=2), torch.full((2, 4, 20, 17), 0.25).double())


def test_one_colour_is_the_mean_over_windows_twice() -> None:
    scores, _ = random_case(2, grid=(9, 9))
    refined = guided_filter(scores, torch.full((2, 3, 9, 9), 0.7).double(), radius=1)
    once = scores.unfold(2, 3, 1).unfold(3, 3, 1).mean((-2, -1))
    twice = once.unfold(2, 3, 1).unfold(3, 3, 1).mean((-2, -1))
    torch.testing.assert_close(refined[..., 2:-2, 2:-2], twice)


def test_scores_that_follow_colour_come_back() -> None:
    """A map that is linear in the image is its own fit (epsilon near 0)."""
    _, image = random_case(3, size=(12, 13))
    scores = torch.einsum("kc,bchw->bkhw", torch.tensor([[0.5, 0.2, -0.1], [1.0, 0.0, 0.3]]).double(), image) + 0.2
    torch.testing.assert_close(guided_filter(scores, image, epsilon=1e-12), scores)


def test_float32_keeps_its_digits() -> None:
    scores, image = random_case(4, grid=(20, 20), size=(20, 20))
    image = 0.9 + 0.05 * image  # little colour on a bright image
    exact = guided_filter(scores, image, epsilon=1e-6)
    torch.testing.assert_close(
        guided_filter(scores.float(), image.float(), epsilon=1e-6).double(), exact, rtol=0, atol=1e-5
    )
    assert guided_filter(scores.half(), image.half()).dtype == torch.float32


@pytest.mark.parametrize("cell", [1, 2, 4])
def test_a_noisy_scene_improves(cell) -> None:
    scene = two_regions()
    scores = scene.noisy_scores(cell)
    refined = guided_filter(scores, scene.image, radius=max(2, 8 // cell))
    assert scene.miou(refined) > scene.miou(scores) + 0.1


def test_upsampling_follows_the_edge_of_the_image() -> None:
    """Right scores on a grid of 12 x 12: bilinear gives round steps, the image gives back the disk."""
    scene = two_regions()
    scores = scene.noisy_scores(4, noise=0)
    assert scene.miou(guided_filter(scores, scene.image, radius=2)) > max(0.97, scene.miou(scores))


def test_invalid_arguments_raise() -> None:
    scores, image = random_case(5)
    with pytest.raises(OutOfRange, match=r"radius.*\b0\b"):
        guided_filter(scores, image, radius=0)
    with pytest.raises(OutOfRange, match=r"epsilon.*\b0\b"):
        guided_filter(scores, image, epsilon=0)
    with pytest.raises(UserError, match=r"\(2, 2, 5, 7\)"):
        guided_filter(scores, image[:, :2])
