"""The contract of every method: it holds for a method because it is registered, on its small random model.

images of one size, words ──► finite maps [B, K, h, w], the same for the same seed, independent of the batch
anything that cannot work ──► one UserError
"""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ca_seg
from ca_seg.errors import UnknownName, UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import OBJECTS, MethodInputs
from ca_seg.methods.registry import IN_EVALUATIONS, MODULES, find_method, list_methods
from ca_seg.predictors.registry import METHODS
from tests.methods.small import small_methods

MODELS = small_methods()
UNSEEN = "qqxyzzy"  # a word of no network and no word table


def test_every_method_has_a_small_model():
    missing = sorted(set(MODULES) - set(MODELS))
    assert not missing, f"no entry in SMALL of a tests/methods/test_*.py (see tests/methods/small.py): {missing}"
    assert set(MODELS) <= set(MODULES)


def test_methods_of_evaluations_are_listed_too():
    assert set(IN_EVALUATIONS) == set(METHODS)
    assert list_methods() == [*MODULES, *METHODS]


@pytest.fixture(scope="module", params=[name for name in MODULES if name in MODELS])
def method(request):
    return ca_seg.method(request.param, **MODELS[request.param].inputs())


@pytest.fixture(scope="module")
def images():
    """Two different images of 64 x 96 pixels."""
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def words_of(card: MethodCard) -> list[str]:
    words = MODELS[card.name].words
    return [words[0]] if card.words == "none" else list(words)


@pytest.mark.parametrize("name", MODULES)
def test_the_card_is_complete(name):
    card = find_method(name)
    assert card.name == name
    assert card.summary.endswith(".")
    assert "(" in card.paper, "authors, year, title, and where: (arXiv ...)"
    assert card.takes in OBJECTS
    assert all(weights.licence and weights.repository.count("/") == 1 for weights in card.weights)
    assert set(card.options) <= {field.name for field in fields(MethodInputs)} - {*OBJECTS, "device"}
    assert card.weights or card.takes == "backbone", "real weights, or a backbone that has a card of its own"


def test_maps_are_finite_one_for_each_class(method, images):
    words = words_of(method.card)
    maps = method.predict(images, words)
    assert maps.ndim == 4
    assert maps.shape[:2] == (2, len(words))
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert maps.flatten(2).std(dim=-1).gt(0).any(), "the maps are constant: the model of SMALL shows nothing"


def test_the_same_seed_gives_the_same_maps(method, images):
    words = words_of(method.card)
    maps = method.predict(images, words, seed=3)
    method.predict(images, words, seed=4)  # no call changes the next
    assert torch.equal(method.predict(images, words, seed=3), maps)


def test_an_image_does_not_depend_on_its_batch(method, images):
    words = words_of(method.card)
    together = method.predict(images, words, batch_size=2)
    for row in range(2):
        torch.testing.assert_close(method.predict(images[row], words), together[row : row + 1], atol=1e-5, rtol=1e-3)
    reversed_maps = method.predict(images.flip(0), words, batch_size=2)
    torch.testing.assert_close(reversed_maps.flip(0), together, atol=1e-5, rtol=1e-3)


def test_selecting_an_image_gives_its_row(method, images):
    vocabulary = ca_seg.Vocabulary.from_names(words_of(method.card))
    prediction = method.predictor.predict(images, [5, 5])
    maps = prediction.maps(vocabulary)
    for row in range(2):
        alone = prediction.select(row).maps(vocabulary)
        torch.testing.assert_close(alone, maps[row : row + 1], atol=1e-5, rtol=1e-3)


def test_images_in_memory_are_the_same_in_every_form(method):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    words = words_of(method.card)
    maps = method.predict(pixels, words)
    torch.testing.assert_close(method.predict(Image.fromarray(pixels), words), maps)
    torch.testing.assert_close(method.predict(torch.from_numpy(pixels).permute(2, 0, 1) / 255, words), maps)


def test_it_works_where_gradients_are_off(method, images):
    words = words_of(method.card)
    maps = method.predict(images[:1], words)
    with torch.inference_mode():
        torch.testing.assert_close(method.predict(images[:1], words), maps)


def test_the_model_is_left_as_it_was(method, images):
    """Parameters, their gradients, hooks and modes of a user's model do not change."""
    inputs = MODELS[method.name].inputs()
    model = inputs.get("model")
    if model is None:
        assert method.card.takes != "model"
        return
    before = _state(model)
    ca_seg.method(method.name, **inputs).predict(images, words_of(method.card))
    after = _state(model)
    assert before[1:] == after[1:]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))


def _state(model):
    modules = list(model.modules())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules]
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    return [p.clone() for p in model.parameters()], hooks, flags, [getattr(m, "fused_attn", None) for m in modules]


def test_settings_are_json(method):
    settings = method.predictor.settings()
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings


def test_several_classes_of_a_class_agnostic_method_are_refused(method, images):
    if method.card.words != "none":
        assert method.predict(images[:1], list(MODELS[method.name].words[:2])).shape[1] == 2
        return
    with pytest.raises(UserError, match=r"cat.*dog"):
        method.predict(images, ["cat", "dog"])
    assert method.predict(images, ["cat", "background"]).shape[:2] == (2, 2)


def test_words_that_it_cannot_see_are_refused(method):
    if method.card.words == "fixed":
        with pytest.raises(UserError, match=UNSEEN):
            method.predict("missing.jpg", [UNSEEN])  # before the image is looked for


def test_an_image_smaller_than_a_patch_is_refused(method):
    with pytest.raises(UserError, match="1 x 1"):
        method.predict(torch.rand(1, 3, 1, 1), words_of(method.card))


def test_an_object_of_another_architecture_is_refused(method):
    with pytest.raises(UserError, match="Linear"):
        ca_seg.method(method.name, **(MODELS[method.name].inputs() | {method.card.takes: nn.Linear(2, 2)}))


def test_what_it_does_not_take_is_refused(method):
    other = next(name for name in OBJECTS if name != method.card.takes)
    with pytest.raises(UserError, match=f"takes no {other}"):
        ca_seg.method(method.name, **{other: nn.Linear(2, 2)})


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownName, match="concept-attention"):
        ca_seg.method("concept-attentoin")


def test_a_method_of_evaluations_says_so():
    with pytest.raises(UserError, match="compare"):
        ca_seg.method("one-class")


def test_images_of_different_sizes_and_grids_are_refused():
    method = ca_seg.method("concept-attention", backbone="mini", resolution=64)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 128)]
    with pytest.raises(UserError, match="sizes"):
        method.predict(images, ["cat"])
