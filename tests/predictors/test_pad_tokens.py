"""Parts by the padding of an empty prompt, against the stock model's attention and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ca_seg
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.predictors.pad_tokens import merged_maps, pad_attention, pad_clusters
from tests.small_flux import small_backbone

CONFIG = ReadoutConfig(layers=(1, 2), timesteps=(0.4,))


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(3))


def test_the_maps_are_the_attention_of_the_image_to_the_prompts_tokens(backbone, image):
    """The small text encoder gives an empty prompt three tokens."""
    attentions = []

    def attend(layer, query, key, value, options):
        attentions.append((query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1))
        return attentions[-1] @ value

    with AttentionTap(backbone.family.attentions(backbone.transformer), attend):
        backbone.record(image, layers=[0], timesteps=0.4, seed=7, stop_early=False)
    expected = sum(attentions[layer][0, :, 3:, :3].mean(dim=0).T for layer in (1, 2)) / 2
    maps = pad_attention(backbone, image, CONFIG, 7)
    torch.testing.assert_close(maps, expected.unflatten(1, (3, 5)), atol=1e-6, rtol=1e-4)


def loop(maps: np.ndarray, same: float) -> np.ndarray:
    """The greedy groups of the paper's evaluation, map by map."""
    scaled = [(m - m.min()) / ((m - m.min()).max() + 1e-6) for m in maps]
    chances = [np.exp(m) / np.exp(m).sum() for m in scaled]
    taken, groups = set(), []
    for first in range(len(chances)):
        if first in taken:
            continue
        group = []
        for other in range(len(chances)):
            p, q = chances[first], chances[other]
            if 0.5 * (p * np.log(p / q)).sum() + 0.5 * (q * np.log(q / p)).sum() < same:
                group.append(chances[other])
                taken.add(other)
        groups.append(np.mean(group, axis=0))
    return np.array(groups)


@pytest.mark.parametrize("same", [0.01, 0.035, 0.08, 1.0])
def test_maps_are_merged_as_by_a_loop(same):
    maps = torch.rand(12, 40, generator=torch.Generator().manual_seed(1)).double()
    maps[6:9] = maps[:3] + 0.02 * maps[3:6]
    merged = merged_maps(maps, same)
    np.testing.assert_allclose(merged.numpy(), loop(maps.numpy(), same), rtol=1e-9)
    torch.testing.assert_close(merged.sum(dim=1), torch.ones(len(merged), dtype=torch.float64))


def test_parts_are_numbered_by_size(backbone, image):
    tokens = pad_clusters(backbone, image, CONFIG, 7, same=0)
    count = torch.bincount(tokens.flatten()).tolist()
    assert tokens.shape == (3, 5)
    assert count == sorted(count, reverse=True)
    assert pad_clusters(backbone, image, CONFIG, 7, same=100).eq(0).all()


def test_the_job_finds_parts_by_padding(backbone, image):
    settings = ca_seg.PartsSettings(by="pad", layers=(1, 2), named=False, timesteps=(0.4,))
    result = ca_seg.parts(image[0], backbone=backbone, settings=settings)
    assert result.mask.shape == (48, 80)


def test_what_has_no_padding_is_refused(image):
    with pytest.raises(UserError, match="no padding"):
        ca_seg.parts(image[0], backbone="mini", settings=ca_seg.PartsSettings(by="pad"))
    with pytest.raises(UnknownName, match="pads"):
        ca_seg.parts(image[0], settings=ca_seg.PartsSettings(by="pads"))
    with pytest.raises(UserError, match="count"):
        ca_seg.parts(image[0], 3, settings=ca_seg.PartsSettings(by="pad"))
    with pytest.raises(OutOfRange):
        pad_clusters(small_backbone(), image, CONFIG, 0, same=float("nan"))
