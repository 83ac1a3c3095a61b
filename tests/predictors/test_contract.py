"""The contract of every method that predicts class maps: every registered method is tested."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg import Vocabulary
from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import UnknownName
from ca_seg.heads.trained import list_heads, load_head
from ca_seg.predictors.predictor import maps_of_images
from ca_seg.predictors.registry import METHODS, MethodContext, open_method
from ca_seg.predictors.settings import BackboneSettings, MethodSettings
from ca_seg.resources import resource_path

MODEL = MethodSettings(backbone="mini", resolution=64)
WINDOWS, SCALES = MethodSettings(window=64, stride=32, resolution=64), MethodSettings(scales=(1.0, 2.0), resolution=64)
SEEDS = [11, 12]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two different scenes of 64 x 96 pixels, with masks of three classes and void."""
    root = tmp_path_factory.mktemp("two")
    scenes = sorted((resource_path("datasets", "scenes") / "images").iterdir())[:2]
    (root / "classes.json").write_text(json.dumps({"ignore": [0], "classes": {"1": "cat", "2": "grass", "3": "sky"}}))
    for part in ("images", "masks"):
        (root / part).mkdir()
    for number, scene in enumerate(scenes):
        Image.open(scene).convert("RGB").crop((0, 0, 96, 64)).save(root / "images" / f"{number}.png")
        mask = np.random.default_rng(number).integers(0, 4, (64, 96), dtype=np.uint8)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return open_dataset("folder", str(root))


def open_by_name(name: str, dataset):
    """A method by name, the two kinds of views, or a shipped head."""
    if name in ("windows", "scales"):
        settings = WINDOWS if name == "windows" else SCALES
        return settings.predictor(settings.load("cpu"))
    if name in list_heads():
        head = load_head(name)
        settings = MethodSettings(backbone=head.backbone, head=name)
        return settings.predictor_of(settings.load("cpu"), head)
    return open_method(name, MethodContext(MODEL, dataset, "cpu"))


@pytest.fixture(scope="module", params=[*METHODS, "mini", "windows", "scales", *list_heads()])
def method(request, dataset):
    return open_by_name(request.param, dataset)


@pytest.fixture(scope="module")
def batch(dataset):
    samples = [dataset[index] for index in range(2)]
    return torch.stack([sample["image"] for sample in samples]), [sample["mask"] for sample in samples]


def predict(method, batch, rows=(0, 1), seeds=SEEDS):
    """The prediction for some images of the batch, with the ground truth only where the method needs it."""
    images, masks = batch
    ground_truth = (lambda index: masks[rows[index]]) if method.needs_ground_truth else None
    return method.predict(images[list(rows)], [seeds[row] for row in rows], ground_truth)


@pytest.mark.parametrize("words", [["cat", "grass", "sky"], ["sky", "cat"]], ids=["all", "some"])
def test_maps_are_finite_one_for_each_class(method, batch, words):
    maps = predict(method, batch).maps(Vocabulary.from_names(words))
    assert maps.ndim == 4
    assert maps.shape[:2] == (2, len(words))
    assert maps.isfinite().all()


def test_selecting_an_image_gives_its_row(method, batch):
    words, prediction = Vocabulary.from_names(["cat", "grass", "sky"]), predict(method, batch)
    maps = prediction.maps(words)
    for row in range(2):
        alone = prediction.select(row).maps(words)
        assert alone.shape == maps[row : row + 1].shape
        torch.testing.assert_close(alone, maps[row : row + 1], atol=1e-4, rtol=1e-3)


def test_the_same_seeds_give_the_same_maps(method, batch):
    words = Vocabulary.from_names(["cat", "grass", "sky"])
    maps = predict(method, batch).maps(words)
    predict(method, batch, seeds=[1, 2]).maps(words)  # no call changes the next
    assert torch.equal(predict(method, batch).maps(words), maps)


def test_an_image_does_not_depend_on_its_batch(method, batch):
    words = Vocabulary.from_names(["cat", "grass", "sky"])
    together = predict(method, batch).maps(words)
    reversed_maps = predict(method, batch, rows=(1, 0)).maps(words)
    torch.testing.assert_close(reversed_maps.flip(0), together, atol=1e-4, rtol=1e-3)
    for row in range(2):
        alone = predict(method, batch, rows=(row,)).maps(words)
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-4, rtol=1e-3)


def test_settings_are_json(method):
    settings = method.settings()
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings


def test_an_unknown_method_is_named(dataset):
    with pytest.raises(UnknownName, match="random-maps"):
        open_method("random-map", MethodContext(BackboneSettings(), dataset, "cpu"))


def test_images_are_asked_together_each_for_its_own_words(method, batch):
    words = {1: Vocabulary.from_names(["cat", "grass", "sky"]), 0: Vocabulary.from_names(["sky", "cat"])}
    prediction = predict(method, batch)
    for row, maps in maps_of_images(prediction, words).items():
        torch.testing.assert_close(maps, prediction.select(row).maps(words[row]), atol=1e-4, rtol=1e-3)
