"""The frozen side of SMP's encoders: what its maps are, and for which families."""

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
def named():
    """Names that a test registers are taken back."""
    names: list[str] = []
    yield lambda name, **told: (names.append(name), register(name, **told))
    for name in names:
        del smp.encoders.encoders[name]


def maps_of(backbone, x, words=None, layers=None):
    return FrozenEncoderBase(encoder_features(backbone, words)).layer_maps(x, layers)


def images(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_outputs_lie_where_their_tokens_lie_and_no_channel_is_larger_than_another(mini):
    x = images(128, 168)
    recording = mini.record(x, seed=0)
    for layer, made in zip((0, 2), maps_of(mini, x, layers=[0, 2]), strict=True):
        output = recording.streams[layer].output  # [B, heads, N, head_dim]
        assert made.shape == (2, output.shape[1] * output.shape[3], 16, 21)
        for image, head, channel in ((0, 0, 0), (1, 2, 5), (1, 1, 63)):
            plain = output[image, head, :, channel]
            size = plain.square().mean().sqrt()
            for row, column in ((0, 0), (3, 20), (15, 7)):
                ours = made[image, head * output.shape[3] + channel, row, column]
                torch.testing.assert_close(ours, plain[row * 21 + column] / size, atol=1e-5, rtol=1e-4)


def test_concepts_are_the_projected_features_of_the_words(mini):
    x = images(128, 128)
    expected = mini.record(x, seed=0).ask(WORDS).projected(normalise="channel")
    assert encoder_features(mini, WORDS).layer_channels == 3
    assert torch.equal(torch.cat(maps_of(mini, x, WORDS), dim=1), expected)
    assert torch.equal(torch.cat(maps_of(mini, x, ["cat", "grass", "sky"]), dim=1), expected)
    with pytest.raises(UnknownName, match="xyzzy"):
        encoder_features(mini, ["xyzzy"])


def test_noise_samples_are_averaged_and_features_do_not_depend_on_autocast(mini):
    several = copy.copy(mini)
    several.card = replace(mini.card, noise_samples=3)
    x = images(128, 128)
    made = maps_of(several, x)[1]
    output = mini.record(x, seed=0, noise_samples=3).streams[1].output.unflatten(0, (3, 2)).mean(dim=0)
    plain = output.transpose(2, 3).flatten(1, 2)
    balanced = (plain / plain.square().mean(dim=2, keepdim=True).sqrt()).unflatten(2, (16, 16))
    torch.testing.assert_close(made, balanced, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(maps_of(several, x)[1], made)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("words", [None, Vocabulary.from_names(["cat", "grass"])], ids=["outputs", "concepts"])
def test_every_kind_of_family_is_an_encoder(maker, words, named):
    """Small models of the real classes: text first and last, a video family, another noise."""
    pipeline, card, _ = MAKERS[maker]()
    backbone = backbone_of(pipeline, card, resolution=64)
    backbone.card = replace(backbone.card, layers=(0, 2))
    backbone.text.length = LENGTH
    named("tiny", backbone=backbone, vocabulary=words)
    model = smp.Unet("tiny", encoder_weights=None, classes=2, decoder_channels=(16, 8, 8, 8, 8))
    x = images(64, 96)
    loss = model(x).square().mean()
    loss.backward()
    assert model(x).shape == (2, 2, 64, 96)
    dpt = smp.DPT("tu-tiny", encoder_weights=None, decoder_readout="ignore", encoder_depth=3, classes=2,
                  decoder_intermediate_channels=(8, 8, 8), decoder_fusion_channels=8)  # fmt: skip
    assert dpt(x).shape == (2, 2, 64, 96)


def test_a_registered_backbone_is_shared_and_a_named_one_is_not(mini, named):
    named("mine", backbone=mini, width=16)
    named("each", backbone="mini", width=16)
    one, two = (smp.encoders.get_encoder("mine") for _ in range(2))
    assert one.source.backbone is two.source.backbone is mini
    one, two = (smp.encoders.get_encoder("each") for _ in range(2))
    assert one.source.backbone is not two.source.backbone
    assert one.out_channels == [3, 16, 16, 16, 16, 16]


def test_images_of_half_precision_give_features_of_half_precision(mini):
    encoder = smp.encoders.get_encoder("ca-mini").to(torch.bfloat16)
    made = encoder(images(128, 128).to(torch.bfloat16))
    assert {m.dtype for m in made} == {torch.bfloat16}
    assert encoder.source.backbone.dtype == torch.float32
