"""The share of high frequencies, against a Fourier transform written out, and the choice of a timestep by it."""

from __future__ import annotations

import cmath

import pytest
import torch

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.frequency import high_frequency_ratio, ratio_of_maps
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.evaluation.ablation import AblationGrid, AblationScores, ablate_image
from tests.small_flux import small_backbone


def written_out(maps: torch.Tensor) -> float:
    """[channels, h, w]: each coefficient as a sum; frequencies above 1/2 are negative ones."""
    _, height, width = maps.shape
    high = total = 0.0
    for channel in maps.tolist():
        mean = sum(map(sum, channel)) / (height * width)
        for u in range(height):
            for v in range(width):
                value = sum(
                    (channel[y][x] - mean) * cmath.exp(-2j * cmath.pi * (u * y / height + v * x / width))
                    for y in range(height)
                    for x in range(width)
                )
                frequency = (min(u, height - u) / height) ** 2 + (min(v, width - v) / width) ** 2
                total += abs(value) ** 2
                high += abs(value) ** 2 * (frequency > 0.25**2)
    return high / total


def test_it_is_the_transform_written_out():
    maps = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    assert float(ratio_of_maps(maps)) == pytest.approx(written_out(maps), abs=1e-5)


def test_a_checkerboard_is_high_and_a_slope_low():
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    assert float(ratio_of_maps(((rows + columns) % 2).float()[None])) == pytest.approx(1)
    assert float(ratio_of_maps(torch.sin(columns * torch.pi / 8)[None])) < 1e-4
    assert float(ratio_of_maps(torch.ones(1, 4, 4))) == 0


def test_an_image_does_not_depend_on_its_batch():
    backbone = small_backbone()
    images = torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(3))
    both = high_frequency_ratio(backbone.record(images, layers=[0, 1], seed=[1, 2], noise_samples=2))
    alone = high_frequency_ratio(backbone.record(images[1:], layers=[0, 1], seed=[2], noise_samples=2))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


def test_an_ablation_chooses_the_timestep_of_an_image():
    backbone = small_backbone()
    backbone.card = backbone.card.__class__(**{**vars(backbone.card), "layers": (0, 1)})
    mask = torch.arange(48 * 80).reshape(48, 80) % 2
    sample = {"image": torch.rand(3, 48, 80), "mask": mask, "image_id": "a"}
    off = {name: False for name in ("layers", "spaces", "concept_attention", "normalise", "readers", "prompt")}
    scores = AblationScores(["cat", "sky"])
    ablate_image(backbone, sample, AblationGrid([0.1, 0.8], [], [], **off), scores, seed=0)
    tables = scores.figures()
    (chosen,) = tables["timestep by image"].values()
    assert chosen in tables["timestep"].values()
    config = ReadoutConfig(timesteps=(0.1, 0.8), timestep_choice="high-frequency", noise_samples=1)
    readout = config.record(backbone, sample["image"][None], [image_seed(0, "a")])
    predicted = predict_mask(readout.maps(["cat", "sky"]), 48, 80).mask[0]
    assert chosen["full_accuracy"] == pytest.approx(float((predicted == mask).float().mean()), abs=1e-3)
