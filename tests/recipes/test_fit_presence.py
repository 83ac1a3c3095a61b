"""The fit of when a word is likely in an image: reference words, figures, and the command."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

import ca_seg
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.resources import resource_path
from recipes import presence
from recipes.presence import Question, ask_questions, auroc, figures, main, reference_words
from tests.cli.commands import few_scenes
from tests.small_flux import small_backbone

GROUPS = (("cat", "kitten", "dog"), ("car", "automobile", "truck"), ("grass", "lawn"))


def test_reference_words_cover_the_taught_words():
    table = WordTable.load(resource_path("checkpoints", "words"))
    taught = [word for group in GROUPS for word in group]
    chosen = reference_words(table, taught, 3)
    assert all(len(set(group) & set(chosen)) == 1 for group in GROUPS)
    vectors = torch.nn.functional.normalize(torch.stack([table.vector(word) for word in taught]), dim=1)
    cosines = vectors @ vectors.T
    coverage = {pair: float(cosines[list(pair)].amax(dim=0).sum()) for pair in combinations(range(len(taught)), 3)}
    reached = coverage[tuple(sorted(taught.index(word) for word in chosen))]
    assert reached > 0.9 * max(coverage.values())
    assert set(reference_words(table, taught, 100)) == set(taught)


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 20, 30) / 20 + 0.2, rng.integers(0, 20, 50) / 20
    truth = [1] * 30 + [0] * 50
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(truth, np.concatenate([positive, negative])))


def test_figures_by_size():
    questions = [Question(1, True, 0.9), Question(1, True, 0.3), Question(1, False, 0.1), Question(3, True, 0.5)]
    table = figures([*questions, Question(3, False, 0.6)], threshold=0.4)
    assert table["1 words"] == {"auroc": 1.0, "warned_with_word": 0.5, "warned_without_word": 1.0}
    assert table["3 words"] == {"auroc": 0.0, "warned_with_word": 0.0, "warned_without_word": 0.0}


def test_the_command_writes_words_and_card(tmp_path, monkeypatch, capsys):
    cards = tmp_path / "ca_seg" / "backbones" / "loading" / "cards"
    (tmp_path / "checkpoints" / "mini").mkdir(parents=True)
    cards.mkdir(parents=True)
    shipped = resource_path("checkpoints", "mini", "taught.txt").parents[2] / "ca_seg/backbones/loading/cards/mini.yaml"
    (cards / "mini.yaml").write_text(shipped.read_text())
    monkeypatch.setattr(presence, "ROOT", tmp_path)
    assert main(["--fit", "train", "--report", "val", "--limit", "2", "--count", "20", "--write"]) == 0
    card = yaml.safe_load((cards / "mini.yaml").read_text())
    printed = yaml.safe_load(capsys.readouterr().out)
    assert card["presence"] == {"reference_words": "mini/reference.txt"} | printed
    assert len((tmp_path / "checkpoints" / "mini" / "reference.txt").read_text().splitlines()) == 20
    assert set(printed["measured"]["scenes, val, 2 images"]) == {"1 words", "3 words", "10 words"}
    assert card["checksums"].keys() == yaml.safe_load(shipped.read_text())["checksums"].keys()


def test_classes_that_training_never_taught_are_not_asked(tmp_path):
    root = few_scenes(tmp_path / "data", 1)
    data, backbone = DataSettings(name="folder", root=str(root)), ca_seg.load_backbone("mini")
    assert {question.size for question in ask_questions(backbone, data, None, ["cat"])} == {1, 3, 10}
    classes = json.loads((root / "classes.json").read_text())
    classes["classes"] = {key: f"blue {name}" for key, name in classes["classes"].items()}
    (root / "classes.json").write_text(json.dumps(classes))
    assert list(ask_questions(backbone, data, None, ["cat"])) == []


def test_a_backbone_without_taught_words_is_refused(monkeypatch):
    monkeypatch.setattr(presence.BackboneSettings, "load", lambda settings, device: small_backbone())
    with pytest.raises(UserError, match="taught_words"):
        main([])
