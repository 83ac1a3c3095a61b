"""Test-time views on simple predictors: pointwise ones, whose scores no view may change."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ca_seg.errors import OutOfRange, UserError
from ca_seg.predictors.views import Views, predict_views, windows
from tests.refine.scene import random_case, two_regions


def by_colour(images: torch.Tensor) -> torch.Tensor:
    """Scores of a pixel depend on that pixel alone: a crop of the image gives the crop of the scores."""
    return torch.cat([images, images.mean(1, keepdim=True)], dim=1).mul(3).softmax(1)


def by_location(images: torch.Tensor) -> torch.Tensor:
    """Two classes, the left and the right of the image that it gets."""
    ramp = torch.linspace(0, 1, images.shape[-1], dtype=images.dtype).expand(len(images), 1, *images.shape[-2:])
    return torch.cat([1 - ramp, ramp], dim=1)


@pytest.mark.parametrize(
    "views",
    [
        Views(),
        Views(window=5),
        Views(window=5, stride=5),
        Views(window=100),
        Views(window=12, stride=1),
        Views(scales=(1.0, 1.0)),
    ],
)
def test_a_pointwise_predictor_is_not_changed(views) -> None:
    _, images = random_case(0, size=(11, 14))
    torch.testing.assert_close(predict_views(by_colour, images, views), by_colour(images))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_every_pixel(side, window, stride) -> None:
    stride = min(stride, window)
    cuts = list(windows(side, window, stride))
    covered = [n for cut in cuts for n in range(cut.start, cut.stop)]
    assert set(covered) == set(range(side))
    assert all(cut.stop - cut.start == min(window, side) for cut in cuts)
    assert len({cut.start for cut in cuts}) == len(cuts)
    assert [cut.start for cut in cuts[:-1]] == [n * stride for n in range(len(cuts) - 1)]


def test_windows_are_averaged_pixel_by_pixel() -> None:
    """A predictor that depends on the window, against a loop that collects all scores of a pixel."""
    _, images = random_case(2, size=(7, 11), batch=1)
    answers: dict[tuple[int, int], list[torch.Tensor]] = {}
    for top in (0, 2, 3):  # windows of 4, stride 2, along 7
        for left in (0, 2, 4, 6, 7):  # along 11
            scores = by_location(images[..., top : top + 4, left : left + 4])
            for y in range(4):
                for x in range(4):
                    answers.setdefault((top + y, left + x), []).append(scores[0, :, y, x])
    averaged = predict_views(by_location, images, Views(window=4, stride=2))
    for (y, x), values in answers.items():
        torch.testing.assert_close(averaged[0, :, y, x], torch.stack(values).mean(0))
    assert len(answers) == 77
    torch.testing.assert_close(
        predict_views(by_location, images, Views(window=4)), averaged
    )  # half a window by default


def test_scales_and_multiples() -> None:
    sizes = []

    def predict(images: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(images.shape[-2:]))
        assert images.min() >= 0
        assert images.max() <= 1
        return torch.full((len(images), 3, 2, 2), len(sizes) / 10)  # any grid

    _, images = random_case(3, size=(20, 30))
    averaged = predict_views(predict, images, Views(scales=(0.5, 1.0, 1.5), multiple=8))
    assert sizes == [(8, 16), (16, 32), (32, 48)]  # 10 -> 8, 15 -> 16; 20 -> 16 (half to even), ...
    torch.testing.assert_close(averaged, torch.full((2, 3, 20, 30), 0.2))


def test_probabilities_stay_probabilities() -> None:
    _, images = random_case(4, size=(13, 10))
    averaged = predict_views(by_colour, images, Views(scales=(0.7, 1.3), window=6, stride=4))
    torch.testing.assert_close(averaged.sum(1), torch.ones(2, 13, 10).double())
    assert averaged.min() >= 0


def test_averaging_views_improves_a_noisy_predictor() -> None:
    """Noise that differs between calls averages out."""
    scene, calls = two_regions(), []

    def predict(images: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        red = images[:, :1]
        noise = torch.randn(1, 2, *red.shape[-2:], generator=torch.Generator().manual_seed(len(calls)))
        return (torch.cat([0.5 - red, red - 0.5], dim=1) * 3 + noise).softmax(1)

    single_view = scene.miou(predict_views(predict, scene.image, Views()))
    several_views = scene.miou(predict_views(predict, scene.image, Views(scales=(0.75, 0.9, 1.0, 1.1, 1.25))))
    assert several_views > single_view + 0.1


def test_invalid_arguments_raise() -> None:
    for options, values in (
        ({"scales": ()}, "8"),
        ({"scales": (0.0,)}, "0.0"),
        ({"multiple": 0}, "0"),
        ({"window": 0}, "0"),
        ({"stride": 4}, "4.*window"),
        ({"window": 4, "stride": 5}, "5.*4"),
    ):
        with pytest.raises(OutOfRange, match=values):
            Views(**options)
    _, images = random_case(5)
    with pytest.raises(UserError, match=r"\(3, 5, 7\)"):
        predict_views(by_colour, images[0], Views())
    with pytest.raises(UserError, match=r"\(2, 5, 7\)"):
        predict_views(lambda x: x[:, 0], images, Views())
