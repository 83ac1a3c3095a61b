"""The frozen side of SMP's encoders: its maps, for all kinds of families."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import segmentation_models_pytorch as smp
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.adapters.frozen import FrozenEncoderBase, encoder_features
from ca_seg.adapters.smp import register
from ca_seg.backbones.load import backbone_of
from ca_seg.errors import UnknownName
from tests.tiny_pipelines import LENGTH, MAKERS

WORDS = Vocabulary.from_names(["cat", "grass", "sky"])


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini")


@pytest.fixture
def register_encoder():
    """A function that registers an encoder for the duration of the test."""
    names: list[str] = []
    yield lambda name, **options: (names.append(name), register(name, **options))
    for name in names:
        del smp.encoders.encoders[name]


def maps_of(backbone, x, words=None, layers=None):
    return FrozenEncoderBase(encoder_features(backbone, words)).layer_maps(x, layers)


def images(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_outputs_are_laid_out_as_tokens_and_scaled_to_equal_channels(mini):
    x = images(128, 168)
    recording = mini.record(x, seed=0, layers=(0, 2))
    for layer, layer_map in zip((0, 2), maps_of(mini, x, layers=[0, 2]), strict=True):
        output = recording.streams[layer].output  # [B, heads, N, head_dim]
        assert layer_map.shape == (2, output.shape[1] * output.shape[3], 32, 42)
        for image, head, channel in ((0, 0, 0), (1, 2, 5), (1, 1, 63)):
            plain = output[image, head, :, channel]
            size = plain.square().mean().sqrt()
            for row, column in ((0, 0), (3, 20), (31, 41)):
                value = layer_map[image, head * output.shape[3] + channel, row, column]
                torch.testing.assert_close(value, plain[row * 42 + column] / size, atol=1e-5, rtol=1e-4)


def test_concepts_are_the_projected_features_of_the_words(mini):
    x = images(128, 128)
    products = mini.record(x, seed=0).ask(WORDS).projected(normalise="channel").unflatten(1, (-1, 3))
    expected = (products - products.mean(dim=2, keepdim=True)).flatten(1, 2)
    assert encoder_features(mini, WORDS).layer_channels == 3
    assert torch.equal(torch.cat(maps_of(mini, x, WORDS), dim=1), expected)
    assert torch.equal(torch.cat(maps_of(mini, x, ["cat", "grass", "sky"]), dim=1), expected)
    with pytest.raises(UnknownName, match="xyzzy"):
        encoder_features(mini, ["xyzzy"])


def test_noise_samples_are_averaged_and_features_do_not_depend_on_autocast(mini):
    several = copy.copy(mini)
    several.card = replace(mini.card, noise_samples=3, layers=(1, 3))
    x = images(128, 128)
    averaged = maps_of(several, x)[0]
    output = mini.record(x, seed=0, noise_samples=3, layers=(1, 3)).streams[1].output.unflatten(0, (3, 2)).mean(dim=0)
    plain = output.transpose(2, 3).flatten(1, 2)
    balanced = (plain / plain.square().mean(dim=2, keepdim=True).sqrt()).unflatten(2, (32, 32))
    torch.testing.assert_close(averaged, balanced, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(maps_of(several, x)[0], averaged)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("words", [None, Vocabulary.from_names(["cat", "grass"])], ids=["outputs", "concepts"])
def test_every_kind_of_family_is_an_encoder(maker, words, register_encoder):
    """Small models of the real classes: text first and last, a video family, another noise."""
    pipeline, card, _ = MAKERS[maker]()
    backbone = backbone_of(pipeline, card, resolution=64)
    backbone.card = replace(backbone.card, layers=(0, 2))
    backbone.text.length = LENGTH
    register_encoder("tiny", backbone=backbone, vocabulary=words)
    model = smp.Unet("tiny", encoder_weights=None, classes=2, decoder_channels=(16, 8, 8, 8, 8))
    x = images(64, 96)
    loss = model(x).square().mean()
    loss.backward()
    assert model(x).shape == (2, 2, 64, 96)
    dpt = smp.DPT("tu-tiny", encoder_weights=None, decoder_readout="ignore", encoder_depth=3, classes=2,
                  decoder_intermediate_channels=(8, 8, 8), decoder_fusion_channels=8)  # fmt: skip
    assert dpt(x).shape == (2, 2, 64, 96)


def test_a_registered_backbone_is_shared_and_a_named_one_is_not(mini, register_encoder):
    register_encoder("by-instance", backbone=mini, width=16)
    register_encoder("by-name", backbone="mini", width=16)
    first, second = (smp.encoders.get_encoder("by-instance") for _ in range(2))
    assert first.source.backbone is second.source.backbone is mini
    first, second = (smp.encoders.get_encoder("by-name") for _ in range(2))
    assert first.source.backbone is not second.source.backbone
    assert first.out_channels == [3, 16, 16, 16, 16, 16]


def test_images_of_half_precision_give_features_of_half_precision(mini):
    encoder = smp.encoders.get_encoder("ca-mini").to(torch.bfloat16)
    features = encoder(images(128, 128).to(torch.bfloat16))
    assert {feature.dtype for feature in features} == {torch.bfloat16}
    assert encoder.source.backbone.dtype == torch.float32
