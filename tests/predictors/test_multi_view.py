"""Windows, scales and layer weights against each of them computed separately."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import OutOfRange
from ca_seg.predictors.multi_view import MultiViewPredictor
from ca_seg.predictors.predictor import maps_of_images
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.predictors.views import Views, scaled

WORDS = Vocabulary.from_names(["cat", "grass", "sky"])
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini", resolution=64)


def test_a_window_as_large_as_the_image_is_the_image(backbone):
    views = MultiViewPredictor(backbone, ReadoutConfig(), Views(window=96)).predict(IMAGES, [3, 4])
    plain = ReadoutConfig().record(backbone, IMAGES, [3, 4]).maps(WORDS)
    expected = interpolate(plain, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(views.maps(WORDS), expected)
    torch.testing.assert_close(views.select(1).maps(WORDS), expected[1:], atol=1e-5, rtol=1e-4)


def test_each_window_is_recorded_as_an_image(backbone):
    views = MultiViewPredictor(backbone, ReadoutConfig(), Views(window=64, stride=32)).predict(IMAGES[:1], [3])
    averaged, total, times = views.maps(WORDS), torch.zeros(1, 3, 64, 96), torch.zeros(96)
    for start in (0, 32):
        maps = ReadoutConfig().record(backbone, IMAGES[:1, :, :, start : start + 64], [3]).maps(WORDS)
        total[..., start : start + 64] += interpolate(maps, (64, 64), mode="bilinear", align_corners=False)
        times[start : start + 64] += 1
    torch.testing.assert_close(averaged, total / times)


def test_each_scale_is_recorded_at_its_resolution(backbone):
    views = MultiViewPredictor(backbone, ReadoutConfig(), Views(scales=(1.0, 2.0))).predict(IMAGES[:1], [3])
    total = 0
    for scale in (1, 2):
        size = (64 * scale, 96 * scale)
        image = IMAGES[:1]
        if scale > 1:
            image = interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        scaled_backbone = load_backbone("mini", resolution=64 * scale)
        maps = ReadoutConfig().record(scaled_backbone, image, [3]).maps(WORDS)
        assert maps.shape[-2:] == (8 * scale, 12 * scale)
        large = interpolate(maps, size, mode="bilinear", align_corners=False)
        total = total + interpolate(large, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(views.maps(WORDS), total / 2, atol=1e-5, rtol=1e-4)


def test_scales_are_recorded_once_for_all_words_and_images(backbone, monkeypatch):
    """The same maps as of a prediction per image and vocabulary, and no image is recorded again for other words."""
    predictor = MultiViewPredictor(backbone, ReadoutConfig(flip=True), Views(scales=(1.0, 1.5)))
    asked = {0: WORDS, 1: Vocabulary.from_names(["dog", "sea"])}
    expected = {i: predictor.predict(IMAGES[i : i + 1], [i]).maps(words) for i, words in asked.items()}
    prediction = predictor.predict(IMAGES, [0, 1])
    monkeypatch.setattr(ReadoutConfig, "record", None)
    maps = maps_of_images(prediction, asked)
    for i, words in asked.items():
        torch.testing.assert_close(maps[i], expected[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prediction.maps(words)[i : i + 1], expected[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prediction.select(i).maps(words), expected[i], atol=1e-5, rtol=1e-4)


def test_scales_where_the_prompt_is_made_of_the_words(backbone):
    predictor = MultiViewPredictor(backbone, ReadoutConfig(prompt="all"), Views(scales=(1.0, 1.5)))
    maps = predictor.predict(IMAGES, [3, 4]).maps(WORDS)
    sized = (
        ReadoutConfig(prompt="all").record(load_backbone("mini", resolution=side), image, [3, 4], vocabulary=WORDS)
        for side, image in ((64, IMAGES), (96, scaled(IMAGES, 1.5, 8)))
    )
    one, other = (readout.maps(WORDS) for readout in sized)
    large = interpolate(other, (96, 144), mode="bilinear", align_corners=False)
    both = (interpolate(m, (64, 96), mode="bilinear", align_corners=False) for m in (one, large))
    torch.testing.assert_close(maps, sum(both) / 2, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"stride": 16}, {"scales": (1.0,), "stride": 16}, {"scales": ()}, {"window": 0}])
def test_options_that_leave_no_view_or_have_no_effect_are_refused_at_once(options):
    with pytest.raises(OutOfRange):
        BackboneSettings(**options)


def test_layer_weights_are_a_weighted_mean(backbone):
    plain = ReadoutConfig(layers=(1, 3)).record(backbone, IMAGES, [1, 2])
    features = plain.recording.ask(WORDS)
    first, third = (features.maps(layers=[layer]) for layer in (1, 3))
    weighted = ReadoutConfig(layers=(1, 3), layer_weights=(1.0, 3.0)).record(backbone, IMAGES, [1, 2]).maps(WORDS)
    torch.testing.assert_close(weighted, (first + 3 * third) / 4)
    torch.testing.assert_close(plain.maps(WORDS), (first + third) / 2)
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0]):
        with pytest.raises(OutOfRange, match="2"):
            features.maps(layers=[1, 3], weights=weights)
