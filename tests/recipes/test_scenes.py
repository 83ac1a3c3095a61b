"""Composed scenes: caption and mask agree, a seed determines the scene, and the shipped set is complete."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ca_seg.resources import resource_path
from recipes.mini.batches import EARLY, LATE, StepBatches
from recipes.mini.fetch import CACHE
from recipes.mini.scenes.compose import MIN_VISIBLE, SceneComposer
from recipes.mini.scenes.evaluation_set import COUNTS, SEEDS, scenes
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.mini.scenes.stuff import KINDS, render


def _shape(shape: str, colour: str) -> np.ndarray:
    image = Image.new("RGBA", (120, 100))
    draw = ImageDraw.Draw(image)
    getattr(draw, shape)((10, 10, 110, 90), fill=colour)
    return np.asarray(image)


@pytest.fixture(scope="module")
def composer():
    shapes = {"ball": _shape("ellipse", "red"), "box": _shape("rectangle", "blue"), "disc": _shape("ellipse", "lime")}
    return SceneComposer(ObjectLibrary.from_images({word: [image] for word, image in shapes.items()}))


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (48, 160), (200, 96)])
def test_the_caption_has_the_words_of_the_mask(composer, size):
    for seed in range(8):
        scene = composer.compose(np.random.default_rng(seed), height=size[0], width=size[1])
        assert scene.image.shape == (*size, 3)
        assert scene.mask.shape == size
        counts = Counter(scene.mask.ravel().tolist())
        visible = {composer.words[i - 1] for i, n in counts.items() if n >= MIN_VISIBLE}
        assert set(scene.words) == visible
        assert 0 not in counts


def test_no_object_is_hidden_too_much(composer):
    for seed in range(20):
        scene = composer.compose(np.random.default_rng(seed), objects=3)
        assert set(composer.objects.words) & set(scene.words)


def test_words_and_stuffs_can_be_limited(composer):
    for seed in range(10):
        scene = composer.compose(np.random.default_rng(seed), words=["box"], stuff_words=["grass"], stuffs=(1, 1))
        assert set(scene.words) <= {"box", "grass"}
    without_objects = composer.compose(np.random.default_rng(0), objects=0, stuffs=(1, 1))
    assert len(without_objects.words) == 1


def test_the_seed_determines_the_scene(composer):
    first, same_seed, new_seed = (composer.compose(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (first.image == same_seed.image).all()
    assert first.words == same_seed.words
    assert (first.image != new_seed.image).any()


@pytest.mark.parametrize("kind", KINDS)
def test_stuff_is_an_image_that_varies(kind):
    first, second = (render(kind, np.random.default_rng(seed), 60, 90) for seed in (0, 1))
    assert first.shape == (60, 90, 3)
    assert np.isfinite(first).all()
    assert 0 <= first.min() <= first.max() <= 1
    assert np.abs(first - second).mean() > 0.002


def test_batches_depend_on_the_step_and_quilts_have_a_caption_per_quarter(composer):
    batches = StepBatches(composer, 0, list(composer.objects.words), list(composer.stuff_words))
    assert (batches[7].images == batches[7].images).all()
    quilt = next(batch for batch in map(batches.__getitem__, range(40)) if batch.kind == "quilt")
    assert quilt.true.shape[2:] == (16, 16)
    for quarter in (np.s_[:8, :8], np.s_[:8, 8:], np.s_[8:, :8], np.s_[8:, 8:]):
        part = quilt.true[(..., *quarter)]
        assert (part == part[..., :1, :1]).all()
        assert part.any(axis=1).all()
    for plans in (EARLY, LATE):
        assert sum(plan.fraction for plan in plans) == pytest.approx(1)


def test_the_shipped_set_is_complete():
    root = resource_path("datasets", "scenes")
    classes = json.loads((root / "classes.json").read_text())
    splits = json.loads((root / "splits.json").read_text())
    assert sum(kind == "object" for kind in classes["kinds"].values()) == 150
    assert sum(kind == "stuff" for kind in classes["kinds"].values()) == 16
    assert [len(splits[name]) for name in ("in_distribution", "shifted", "train", "val")] == [240, 60, 160, 80]
    assert not set(splits["in_distribution"]) & set(splits["shifted"])
    assert sorted(splits["train"] + splits["val"]) == sorted(splits["in_distribution"])
    images_per_class = Counter()
    for image_id in splits["in_distribution"]:
        mask = np.asarray(Image.open(root / "masks" / f"{image_id}.png"))
        assert mask.shape == Image.open(root / "images" / f"{image_id}.png").size[::-1]
        images_per_class.update(np.unique(mask).tolist())
    assert set(map(int, classes["classes"])) == set(images_per_class)
    assert min(images_per_class.values()) >= 3
    assert sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) < 15e6


@pytest.mark.skipif(
    not (CACHE / "fluent" / "complete").exists(), reason="needs the emoji: python -m recipes.mini.fetch"
)
def test_the_shipped_set_can_be_reproduced():
    root = resource_path("datasets", "scenes", "images")
    composer = SceneComposer(ObjectLibrary.load(CACHE))
    reproduced = scenes(composer, COUNTS["in_distribution"][0], SEEDS["in_distribution"])
    for number, scene in zip(range(3), reproduced, strict=False):
        assert (np.asarray(Image.open(root / f"scene_{number:04d}.png")) == scene.image).all()
