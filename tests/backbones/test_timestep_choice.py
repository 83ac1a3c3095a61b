"""One of several timesteps for each image, against recordings of that timestep alone."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.frequency import high_frequency_ratio
from ca_seg.errors import UnknownName, UserError
from ca_seg.features.frozen import FrozenFeatures
from tests.small_flux import small_backbone

WORDS = Vocabulary.from_names(["cat", "grass", "sky"])
TIMES = (0.4, 0.6, 0.8)
SEEDS = [1, 2, 3]
LAYERS = (0, 1, 4)


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def images():
    """Smooth colours, a checkerboard and noise, so that the images choose differently."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 80), indexing="ij")
    boards = ((rows * 6).long() + (columns * 10).long()) % 2
    noise = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(1))
    return torch.stack([torch.stack([rows, columns, rows]), boards.float().expand(3, 48, 80), noise])


def best_times(backbone, images, seeds, **recorded) -> list[float]:
    """By one recording for each image and timestep."""
    chosen = []
    for image, seed in zip(images, seeds, strict=True):
        ratios = {}
        for time in TIMES:
            recording = backbone.record(image[None], timesteps=time, layers=LAYERS, seed=[seed], **recorded)
            ratios[time] = high_frequency_ratio(recording).item()
        chosen.append(max(ratios, key=ratios.__getitem__))
    return chosen


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({}, True),
        ({}, False),
        ({"space": "cross-attention"}, True),
        ({"noise_samples": 2}, True),
        ({"flip": True}, True),
        ({"image_output": "concepts"}, False),
        ({"reader": "tokenrank"}, False),
        ({"reader": "seg4diff", "prompt": "all"}, False),
    ],
    ids=str,
)
def test_maps_are_those_of_the_chosen_timestep(backbone, images, options, known):
    config = ReadoutConfig(layers=LAYERS, timesteps=TIMES, timestep_choice="high-frequency", **options)
    readout = config.record(backbone, images, SEEDS, vocabulary=WORDS, words=[WORDS] if known else None)
    samples = config.noise_samples or 1
    recorded = {"noise_samples": samples, "prompt": ", ".join(WORDS.concepts) if "prompt" in options else ""}

    def alone(pictures: torch.Tensor) -> torch.Tensor:
        plain = {name: value for name, value in options.items() if name != "flip"}
        rows = []
        for image, seed, time in zip(pictures, SEEDS, best_times(backbone, pictures, SEEDS, **recorded), strict=True):
            one = ReadoutConfig(layers=LAYERS, timesteps=(time,), **plain)
            rows.append(one.record(backbone, image[None], [seed], vocabulary=WORDS).maps(WORDS)[0])
        return torch.stack(rows)

    expected = alone(images)
    if config.flip:
        expected = (expected + alone(images.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(readout.maps(WORDS), expected, atol=1e-5, rtol=1e-3)
    each = readout.maps_of_images({0: WORDS, 2: WORDS})
    torch.testing.assert_close(torch.cat([each[0], each[2]]), expected[[0, 2]], atol=1e-5, rtol=1e-3)
    assert len(readout.maps_per_copy(WORDS)) == samples
    torch.testing.assert_close(readout.select(1).maps(WORDS), expected[1:2], atol=1e-5, rtol=1e-3)


def test_images_choose_differently(backbone, images):
    assert len(set(best_times(backbone, images, SEEDS))) > 1


def test_images_of_different_levels_are_asked_for_their_own_words(backbone, images):
    """Asked together, all images would have the noise level of the first."""
    config = ReadoutConfig(layers=LAYERS, timesteps=TIMES, timestep_choice="high-frequency")
    recording = config.record(backbone, images, SEEDS).recording
    asked = recording.ask_images({index: WORDS for index in range(3)})
    for index, features in asked.items():
        torch.testing.assert_close(features.maps(), recording.select(index).ask(WORDS).maps())


def test_features_are_of_one_timestep(backbone, images):
    config = ReadoutConfig(layers=LAYERS, timesteps=TIMES, timestep_choice="high-frequency")
    features = FrozenFeatures(backbone, None, parts=["outputs"], readout=config)
    (time,) = best_times(backbone, images[2:], [3])
    one = FrozenFeatures(backbone, None, parts=["outputs"], readout=ReadoutConfig(layers=LAYERS, timesteps=(time,)))
    assert features.channels == one.channels
    torch.testing.assert_close(features(images, SEEDS)[2:], one(images[2:], [3]), atol=1e-4, rtol=1e-3)
    assert features.identity() != one.identity()


@pytest.mark.parametrize("timesteps", [None, (), (0.3,), (0.3, 0.3)])
def test_one_timestep_leaves_no_choice(timesteps):
    with pytest.raises(UserError, match="several timesteps"):
        ReadoutConfig(timesteps=timesteps, timestep_choice="high-frequency")


def test_an_unknown_choice_is_refused():
    with pytest.raises(UnknownName, match="timestep choice"):
        ReadoutConfig(timesteps=TIMES, timestep_choice="best")


def test_the_choice_is_kept_with_a_head():
    config = ReadoutConfig(timesteps=TIMES, timestep_choice="high-frequency")
    assert ReadoutConfig.from_plain(config.plain()) == config
