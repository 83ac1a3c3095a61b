"""Maps against plain einsum, and their invariances."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.errors import OutOfRange, UnknownName, UserError
from tests.small_flux import small_backbone

PETS = Vocabulary.from_names(["cat", "grass", "sky"])


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def recording(backbone, images):
    return backbone.record(images, layers=[1, 4], timesteps=[0.3, 0.6], noise_samples=2)


def test_scores_are_products_of_the_two_streams(recording):
    features = recording.ask(PETS)
    for layer in (1, 4):
        image, concept = features.image[layer], features.concept[layer]
        expected = {
            "output": torch.einsum("bhcd,bhnd->bcn", concept.output, image.output),
            "value": torch.einsum("bhcd,bhnd->bcn", concept.value, image.value),
            "cross-attention": torch.einsum("bhcd,bhnd->bhcn", concept.query, image.key).mean(dim=1) / 16**0.5,
        }
        for space, raw in expected.items():
            scores = features.scores(layer, space=space)
            torch.testing.assert_close(scores.flatten(0, 1).flatten(2), raw, atol=1e-4, rtol=1e-4)


def test_maps_are_means_of_softmaxes_over_layers_and_noised_copies(recording):
    features = recording.ask(PETS)
    expected = torch.stack([features.scores(layer).softmax(dim=2).mean(dim=0) for layer in (1, 4)]).mean(dim=0)
    maps = features.maps()
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones_like(maps[:, 0]))
    assert maps.shape[:2] == (2, 3)
    raw = torch.stack([features.scores(layer).mean(dim=0) for layer in (1, 4)]).mean(dim=0)
    torch.testing.assert_close(features.maps(softmax=False), raw)


def test_noised_copies_equal_single_recordings(backbone, images, recording):
    both = recording.ask(PETS).maps()
    alone = [backbone.record(images, layers=[1, 4], timesteps=t, noise_samples=2).ask(PETS).maps() for t in (0.3, 0.6)]
    torch.testing.assert_close(both, torch.stack(alone).mean(dim=0), atol=1e-5, rtol=1e-5)


def test_a_batch_of_two_is_two_of_one(backbone, images):
    both = backbone.record(images, layers=[4], seed=[5, 6]).ask(PETS).maps()
    for i, seed in enumerate((5, 6)):
        single = backbone.record(images[i : i + 1], layers=[4], seed=seed).ask(PETS).maps()
        torch.testing.assert_close(both[i : i + 1], single, atol=1e-5, rtol=1e-5)


def test_an_image_of_a_recording_gives_the_same_maps_alone(recording):
    whole = recording.ask(PETS).maps()
    for i in range(2):
        torch.testing.assert_close(recording.select(i).ask(PETS).maps(), whole[i : i + 1], atol=1e-5, rtol=1e-5)


def test_permuting_concepts_permutes_maps(recording):
    maps = recording.ask(PETS).maps()
    permuted = recording.ask(Vocabulary.from_names(["sky", "cat", "grass"])).maps()
    torch.testing.assert_close(permuted, maps[:, [2, 0, 1]], atol=1e-5, rtol=1e-5)


def test_asking_twice_equals_two_fresh_recordings(backbone, images, recording):
    first, second = recording.ask(PETS).maps(), recording.ask(PETS).maps()
    assert torch.equal(first, second)
    fresh = backbone.record(images, layers=[1, 4], timesteps=[0.3, 0.6], noise_samples=2).ask(PETS).maps()
    torch.testing.assert_close(first, fresh, atol=1e-6, rtol=1e-6)


def test_phrases_are_pooled_to_classes(recording):
    words = Vocabulary.from_names(["cat", "grass"], synonyms={"cat": ["kitten"]})
    features = recording.ask(words)
    scores = features.scores(4)[0]
    pooled = torch.stack([scores[:, :2].amax(dim=1), scores[:, 2]], dim=1)
    torch.testing.assert_close(features.maps(softmax=False, layers=[4]).shape, pooled.shape)
    assert features.maps().shape[1] == 2


def test_projected_features_are_layers_times_concepts(recording):
    assert recording.ask(PETS).projected().shape[1] == 2 * 3


def test_invalid_arguments_raise(backbone, images, recording):
    with pytest.raises(OutOfRange, match=r"5.*0 to 4"):
        backbone.record(images, layers=[5])
    with pytest.raises(OutOfRange, match=r"1\.5"):
        backbone.record(images, layers=[0], timesteps=1.5)
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        backbone.record(images, layers=[0], noise_samples=0)
    with pytest.raises(UnknownName, match="'output'"):
        recording.ask(PETS).maps(space="outputs")
    with pytest.raises(OutOfRange, match=r"7.*0 to 4"):
        recording.ask(PETS).maps(layers=[7])
    with pytest.raises(UserError):
        Vocabulary.from_names([])
    with pytest.raises(UserError, match="'cat'"):
        Vocabulary.from_names(["cat", "cat"])
