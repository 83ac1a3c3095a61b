"""Composed scenes compared with their pixels: position and size of objects, differences of stuffs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

import recipes.mini.scenes
from ca_seg.resources import resource_path
from recipes.mini.fetch import CACHE
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.evaluation_set import COUNTS, SEEDS, scenes
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.mini.scenes.stuff import KINDS, render

ASPECT = 41 / 61  # short side / long side of the rectangle


def _rectangle(colour: str) -> np.ndarray:
    image = Image.new("RGBA", (80, 80))
    ImageDraw.Draw(image).rectangle((10, 20, 70, 60), fill=colour)
    return np.asarray(image)


@pytest.fixture(scope="module")
def composer() -> SceneComposer:
    return SceneComposer(ObjectLibrary.from_images({c: [_rectangle(c)] for c in ("magenta", "red", "blue", "cyan")}))


def test_the_mask_lies_where_the_object_is_drawn(composer) -> None:
    """Grass is never magenta, so the pixels of the object can be found in the image."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene = composer.compose(rng, objects=1, stuffs=(1, 1), words=["magenta"], stuff_words=["grass"])
        red, green, blue = scene.image.astype(int).transpose(2, 0, 1)
        magenta = np.minimum(red, blue) > green
        mask = scene.mask == composer.words.index("magenta") + 1
        assert (magenta & mask).sum() / (magenta | mask).sum() > 0.9


def test_an_object_hides_at_most_the_allowed_fraction_of_another(composer, monkeypatch) -> None:
    hidden_fractions = []
    place = SceneComposer._place

    def place_and_measure(self, rng, image, mask, word) -> None:
        before = mask.copy()
        place(self, rng, image, mask, word)
        for number in np.unique(before[before <= len(self.objects.words)]):
            visible = before == number
            hidden_fractions.append((visible & (mask != number)).sum() / visible.sum())

    monkeypatch.setattr(SceneComposer, "_place", place_and_measure)
    rng = np.random.default_rng(2)
    for _ in range(60):
        composer.compose(rng, height=64, width=64, objects=4)
    assert 0.2 < max(hidden_fractions) <= 0.4


@pytest.mark.parametrize(("side", "longest"), [(128, 72), (60, 48)])
def test_sizes_stay_in_their_range(composer, side: int, longest: int) -> None:
    """A long side of 26 to 72 pixels, at most 0.8 of the image's short side; 40 % of the area may be outside."""
    rng = np.random.default_rng(3)
    composed = [composer.compose(rng, height=side, width=side, objects=1, words=["blue"]) for _ in range(60)]
    pixels = [(scene.mask == composer.words.index("blue") + 1).sum() for scene in composed]
    assert 0.6 * longest**2 * ASPECT < max(pixels) <= 1.05 * longest**2 * ASPECT
    assert min(pixels) >= 0.9 * 0.6 * 26**2 * ASPECT


def test_stuffs_differ_in_colour_and_texture() -> None:
    """Nearest neighbour among 12 images of each kind, by means, deviations and edge strengths of the colours."""

    def descriptor(image: np.ndarray) -> np.ndarray:
        parts = [image.mean((0, 1)), image.std((0, 1))]
        parts += [np.abs(np.diff(image, axis=axis)).mean((0, 1)) for axis in (0, 1)]
        return np.concatenate(parts)

    rng = np.random.default_rng(8)
    known = np.array([descriptor(render(kind, rng, 96, 96)) for kind in KINDS for _ in range(12)])
    correct = Counter(
        kind
        for number, kind in enumerate(KINDS)
        for _ in range(6)
        if np.linalg.norm((known - descriptor(render(kind, rng, 96, 96))) / known.std(0), axis=1).argmin() // 12
        == number
    )
    assert sum(correct.values()) >= 0.9 * 6 * len(KINDS), correct
    assert min(correct[kind] for kind in KINDS) >= 4, correct


def test_the_word_lists() -> None:
    listed = yaml.safe_load((Path(recipes.mini.scenes.__file__).parent / "objects.yaml").read_text(encoding="utf-8"))
    train, held_out = listed["train"], listed["held_out"]
    assert (len(train), len(held_out), len(KINDS)) == (150, 20, 16)
    words = [*train, *held_out, *KINDS]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", word) for word in words)
    emoji = [name for names in (*train.values(), *held_out.values()) for name in names]
    assert len(set(emoji)) == len(emoji)  # each emoji belongs to one word


def test_the_shipped_files_have_the_documented_digest() -> None:
    root = resource_path("datasets", "scenes")
    digest = hashlib.sha256()
    for path in sorted([*root.glob("images/*.png"), *root.glob("masks/*.png")]):
        digest.update(path.read_bytes())
    about = (root / "README.md").read_text(encoding="utf-8")
    assert digest.hexdigest() in about
    assert all(str(seed) in about for seed in SEEDS.values())
    assert all(part in about for part in ("Fluent", "Microsoft", "MIT", "Noto", "Apache-2.0"))


@pytest.mark.skipif(
    not all((CACHE / folder / "complete").exists() for folder in ("fluent", "noto")),
    reason="needs the emoji: python -m recipes.mini.fetch",
)
@pytest.mark.parametrize(("split", "first"), [("in_distribution", 0), ("shifted", 240)])
def test_images_and_masks_of_both_splits_can_be_reproduced(split: str, first: int) -> None:
    count, style = COUNTS[split]
    reproduced = scenes(SceneComposer(ObjectLibrary.load(CACHE, style=style)), count, SEEDS[split])
    for number, scene in enumerate(islice(reproduced, 3), first):
        for folder, expected in (("images", scene.image), ("masks", scene.mask)):
            with Image.open(resource_path("datasets", "scenes", folder, f"scene_{number:04d}.png")) as stored:
                np.testing.assert_array_equal(np.asarray(stored), expected)
