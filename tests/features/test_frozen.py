"""Features: what each channel holds, against the library's maps and projections."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.families.registry import FAMILIES, find_family
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import UnknownName, UserError
from ca_seg.features.frozen import FrozenFeatures, weights_digest
from ca_seg.features.rgb_patches import RGBPatches
from tests.small_models import random_latents, small_model

WORDS = Vocabulary.from_names(["cat", "grass"], synonyms={"cat": ["kitten"]})
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini")


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 128, 96, generator=torch.Generator().manual_seed(0))


def test_the_parts_are_concatenated_in_order(backbone, images):
    source = FrozenFeatures(backbone, WORDS, parts=("maps", "outputs", "concepts"))
    features = source(images, SEEDS)
    concept_features = backbone.record(images, seed=SEEDS).ask(WORDS)
    outputs, concepts, maps = features.split([2 * 192, 2 * 3, 2], dim=1)
    assert source.channels == features.shape[1]
    assert source.maps == 2
    assert torch.equal(maps, concept_features.maps())
    torch.testing.assert_close(concepts, concept_features.projected())
    last = concept_features.image[3].output.transpose(1, 2).flatten(2).transpose(1, 2)  # [B, width, N]
    assert torch.equal(outputs[:, 192:].flatten(2), last)


def test_timesteps_are_concatenated_and_samples_are_averaged(backbone, images):
    readout = ReadoutConfig(layers=(1, 3), timesteps=(0.1, 0.6), noise_samples=3)
    features = FrozenFeatures(backbone, WORDS, parts=("concepts",), readout=readout)(images, SEEDS)
    assert features.shape == (2, 2 * 2 * 3, 43, 32)
    for number, timestep in enumerate((0.1, 0.6)):
        expected = (
            backbone.record(images, timesteps=timestep, noise_samples=3, layers=(1, 3), seed=SEEDS)
            .ask(WORDS)
            .projected()
        )
        torch.testing.assert_close(features[:, 6 * number : 6 * number + 6], expected, atol=1e-4, rtol=1e-4)


def test_contrasts_are_concepts_less_their_mean_over_the_phrases(backbone, images):
    source = FrozenFeatures(backbone, WORDS, parts=("concepts", "contrasts"))
    features = source(images, SEEDS)
    assert source.channels == features.shape[1] == 2 * 2 * 3
    concepts, contrasts = (half.unflatten(1, (2, 3)) for half in features.chunk(2, dim=1))
    torch.testing.assert_close(contrasts, concepts - concepts.mean(dim=2, keepdim=True), atol=1e-4, rtol=1e-4)
    assert contrasts.abs().max() < concepts.abs().max() / 5  # what float16 would round away


def test_contrasts_need_two_phrases(backbone):
    with pytest.raises(UserError, match="'concepts'"):
        FrozenFeatures(backbone, ["cat"], parts=("contrasts",))


def test_latents_are_those_of_the_autoencoder_token_by_token(backbone, images):
    source = FrozenFeatures(backbone, WORDS, parts=("maps", "latents"))
    features = source(images, SEEDS)
    clean = backbone.encode(images)  # 4 x 4 pixels each; a token has 2 x 2 of them
    assert source.channels == features.shape[1] == 4 * clean.shape[1] + 2
    assert torch.equal(features[:, :-2], pixel_unshuffle(clean, 2))
    assert torch.equal(features[:, :-2], FrozenFeatures(backbone, None, parts=("latents",))(images, [5, 6]))  # no noise


@pytest.mark.parametrize("name", FAMILIES)
def test_each_token_of_every_family_has_whole_latents(name, backbone):
    family = find_family(name)
    latents, grid = random_latents(family, 2), small_model(family).grid
    encoder = SimpleNamespace(encode=lambda images: latents[:, :, :1] if family.video else latents)
    source = FrozenFeatures(backbone, None, parts=("outputs",))
    source.backbone = encoder
    assert source._latents(torch.zeros(2, 3, 8, 8), grid).shape[-2:] == (grid.height, grid.width)


@pytest.mark.parametrize(("normalise", "dim"), [("token", 1), ("channel", (2, 3))])
def test_massive_activations_can_be_normalised(backbone, images, normalise, dim):
    source = FrozenFeatures(
        backbone, WORDS, parts=("outputs",), readout=ReadoutConfig(layers=(3,), normalise=normalise)
    )
    size = source(images, SEEDS).square().mean(dim=dim) * (192 if dim == 1 else 1)
    torch.testing.assert_close(size, torch.ones_like(size), atol=1e-3, rtol=0)


def test_wrong_parts_are_named(backbone):
    with pytest.raises(UnknownName, match="'concepts'"):
        FrozenFeatures(backbone, WORDS, parts=("concept",))
    with pytest.raises(UserError) as problem:
        FrozenFeatures(backbone, WORDS, parts=())
    assert "concepts" in problem.value.allowed
    with pytest.raises(UserError, match="flip"):
        FrozenFeatures(backbone, WORDS, readout=ReadoutConfig(flip=True))


def test_the_identity_changes_with_everything_that_features_depend_on(backbone):
    def identity_of(**options):
        return FrozenFeatures(backbone, **({"vocabulary": WORDS} | options)).identity()

    base = identity_of()
    assert json.loads(json.dumps(base)) == base
    changed = [
        identity_of(parts=("outputs",)),
        identity_of(readout=ReadoutConfig(timesteps=(0.3,))),
        identity_of(readout=ReadoutConfig(normalise="token")),
        identity_of(vocabulary=Vocabulary.from_names(["cat", "grass"])),
        FrozenFeatures(load_backbone("mini", resolution=64), WORDS).identity(),
        FrozenFeatures(load_backbone("mini", random_weights=True), WORDS).identity(),
    ]
    assert base not in changed


def test_the_digest_changes_with_one_tensor():
    layer = torch.nn.Linear(300, 70)
    before = weights_digest(layer)
    assert before == weights_digest(layer)
    with torch.no_grad():
        layer.weight.mul_(1.001)
    assert weights_digest(layer) != before


def test_patches_are_the_pixels_of_the_image(images):
    features = RGBPatches(resolution=96, patch=8)(images, SEEDS)
    assert features.shape == (2, 192, 16, 12)
    patch_pixels = images[0, 1, 8:16, 16:24]  # green, token row 1, column 2
    assert torch.equal(features[0, 64:128, 1, 2], patch_pixels.flatten())


def test_outputs_and_pixels_need_no_words(backbone, images):
    parts = ("pixels", "outputs")
    without_words, with_words = (FrozenFeatures(backbone, words, parts=parts) for words in (None, WORDS))
    assert without_words.channels == with_words.channels
    assert torch.equal(without_words(images, SEEDS), with_words(images, SEEDS))
    assert json.loads(json.dumps(without_words.identity()))["vocabulary"] is None
    with pytest.raises(UserError, match="need words"):
        FrozenFeatures(backbone, None)
    with pytest.raises(UserError, match="'outputs'"):
        FrozenFeatures(backbone, None, parts=("outputs",), readout=ReadoutConfig(image_output="concepts"))


def test_the_layers_one_by_one_are_the_features(backbone, images):
    readout = ReadoutConfig(layers=(1, 3), timesteps=(0.1, 0.6))
    for parts in (("outputs",), ("concepts",), ("outputs", "concepts")):
        source = FrozenFeatures(backbone, WORDS, parts=parts, readout=readout)
        layers = source.layer_maps(images, SEEDS)
        assert [layer.shape[1] for layer in layers] == [source.layer_channels] * 2
        assert source.channels == 2 * source.layer_channels
        if len(parts) == 1:  # timesteps before layers
            by_time = torch.stack([layer.unflatten(1, (2, -1)) for layer in layers], dim=2)
            assert torch.equal(by_time.flatten(1, 3), source(images, SEEDS))
    assert torch.equal(source.layer_maps(images, SEEDS, layers=[3])[0], layers[1])
    with pytest.raises(UserError, match="pixels"):
        FrozenFeatures(backbone, WORDS, parts=("pixels", "outputs")).layer_maps(images, SEEDS)
