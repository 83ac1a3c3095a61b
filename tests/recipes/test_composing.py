"""Composed scenes, held against the image itself: where objects lie, how large they are, how stuffs differ."""

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

SHARE = 41 / 61  # of the square around the rectangle's long side


def _rectangle(colour: str) -> np.ndarray:
    image = Image.new("RGBA", (80, 80))
    ImageDraw.Draw(image).rectangle((10, 20, 70, 60), fill=colour)
    return np.asarray(image)


@pytest.fixture(scope="module")
def composer() -> SceneComposer:
    return SceneComposer(ObjectLibrary.from_images({c: [_rectangle(c)] for c in ("magenta", "red", "blue", "cyan")}))


def test_the_mask_lies_where_the_object_is_drawn(composer) -> None:
    """Magenta occurs in no grass, so the image alone tells which pixels the object owns."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene = composer.compose(rng, objects=1, stuffs=(1, 1), words=["magenta"], stuff_words=["grass"])
        red, green, blue = scene.image.astype(int).transpose(2, 0, 1)
        magenta = np.minimum(red, blue) > green
        own = scene.mask == composer.words.index("magenta") + 1
        assert (magenta & own).sum() / (magenta | own).sum() > 0.9


def test_one_object_hides_at_most_the_allowed_share_of_another(composer, monkeypatch) -> None:
    taken = []
    place = SceneComposer._place

    def watched(self, rng, image, mask, word) -> None:
        before = mask.copy()
        place(self, rng, image, mask, word)
        for number in np.unique(before[before <= len(self.objects.words)]):
            was = before == number
            taken.append((was & (mask != number)).sum() / was.sum())

    monkeypatch.setattr(SceneComposer, "_place", watched)
    rng = np.random.default_rng(2)
    for _ in range(60):
        composer.compose(rng, height=64, width=64, objects=4)
    assert 0.2 < max(taken) <= 0.4


@pytest.mark.parametrize(("side", "longest"), [(128, 72), (60, 48)])
def test_sizes_stay_in_their_range(composer, side: int, longest: int) -> None:
    """A long side of 26 to 72 pixels, and never over 0.8 of the image's short side; 40 % may lie outside."""
    rng = np.random.default_rng(3)
    made = [composer.compose(rng, height=side, width=side, objects=1, words=["blue"]) for _ in range(60)]
    pixels = [(scene.mask == composer.words.index("blue") + 1).sum() for scene in made]
    assert 0.6 * longest**2 * SHARE < max(pixels) <= 1.05 * longest**2 * SHARE
    assert min(pixels) >= 0.9 * 0.6 * 26**2 * SHARE


def test_stuffs_can_be_told_apart_by_colour_and_texture() -> None:
    """Nearest neighbour among 12 others of each kind, by colour means, spreads and edge strengths of one image."""

    def described(image: np.ndarray) -> np.ndarray:
        parts = [image.mean((0, 1)), image.std((0, 1))]
        parts += [np.abs(np.diff(image, axis=axis)).mean((0, 1)) for axis in (0, 1)]
        return np.concatenate(parts)

    rng = np.random.default_rng(8)
    known = np.array([described(render(kind, rng, 96, 96)) for kind in KINDS for _ in range(12)])
    right = Counter(
        kind
        for number, kind in enumerate(KINDS)
        for _ in range(6)
        if np.linalg.norm((known - described(render(kind, rng, 96, 96))) / known.std(0), axis=1).argmin() // 12
        == number
    )
    assert sum(right.values()) >= 0.9 * 6 * len(KINDS), right
    assert min(right[kind] for kind in KINDS) >= 4, right


def test_the_word_lists() -> None:
    listed = yaml.safe_load((Path(recipes.mini.scenes.__file__).parent / "objects.yaml").read_text(encoding="utf-8"))
    train, held_out = listed["train"], listed["held_out"]
    assert (len(train), len(held_out), len(KINDS)) == (150, 20, 16)
    every = [*train, *held_out, *KINDS]
    assert len(set(every)) == len(every)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", word) for word in every)
    emoji = [name for own in (*train.values(), *held_out.values()) for name in own]
    assert len(set(emoji)) == len(emoji)  # no emoji stands for two words


def test_the_shipped_files_are_those_of_the_digest() -> None:
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
def test_images_and_masks_of_both_splits_can_be_made_again(split: str, first: int) -> None:
    count, style = COUNTS[split]
    made = scenes(SceneComposer(ObjectLibrary.load(CACHE, style=style)), count, SEEDS[split])
    for number, scene in enumerate(islice(made, 3), first):
        for folder, expected in (("images", scene.image), ("masks", scene.mask)):
            with Image.open(resource_path("datasets", "scenes", folder, f"scene_{number:04d}.png")) as stored:
                np.testing.assert_array_equal(np.asarray(stored), expected)
