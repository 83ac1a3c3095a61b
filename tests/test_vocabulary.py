"""Vocabularies: each form of words, and the errors for words that would give two nearly identical concepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ca_seg.data.benchmarks.official import class_list
from ca_seg.data.catalogue import DATASETS, class_words, open_dataset
from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary, as_vocabulary
from ca_seg.vocabulary_file import read_vocabulary

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        ("cat", {"cat": ("cat",)}),
        (["cat", "grass"], {"cat": ("cat",), "grass": ("grass",)}),
        (("cat", "traffic light"), {"cat": ("cat",), "traffic light": ("traffic light",)}),
        ({"cat": ["cat", "kitten"], "grass": "lawn"}, {"cat": ("cat", "kitten"), "grass": ("lawn",)}),
        ({"door, gate": ["door", "gate"]}, {"door, gate": ("door", "gate")}),
        (Vocabulary.from_names(["cat"]), {"cat": ("cat",)}),
    ],
)
def test_words_in_each_form(words, phrases):
    vocabulary = as_vocabulary(words)
    assert dict(zip(vocabulary.classes, vocabulary.phrases, strict=True)) == phrases


def test_a_template_and_synonyms():
    words = as_vocabulary(["cat", "grass"], template="a {curly} {}, here", synonyms={"cat": ["kitten"]})
    assert words.concepts == ("a {curly} cat, here", "a {curly} kitten, here", "a {curly} grass, here")
    assert as_vocabulary(words, synonyms={"grass": ["lawn"]}).phrases[1] == (words.phrases[1][0], "lawn")
    expected = Vocabulary.from_names(["cat", "grass"], template="a {curly} {}, here", synonyms={"cat": ["kitten"]})
    assert words == expected
    with pytest.raises(UnknownName, match="'dog'"):
        as_vocabulary(["cat"], synonyms={"dog": ["hound"]})


@pytest.mark.parametrize("template", ["a photo", "", "{} on {}", "{0}"])
@pytest.mark.parametrize("create", [as_vocabulary, Vocabulary.from_names])
def test_a_template_has_one_placeholder(create, template):
    with pytest.raises(UserError) as caught:
        create(["cat"], template=template)
    assert repr(template) in caught.value.what


@pytest.mark.parametrize("near", ["Cat", "cat ", " CAT", "\tcat"])
def test_near_duplicates_are_both_named(near):
    for create in (
        lambda: as_vocabulary(["grass", "cat", near]),
        lambda: as_vocabulary({"grass": ["lawn", "cat"], "animal": [near]}),
        lambda: as_vocabulary({"grass": ["cat", near]}),
        lambda: Vocabulary(("cat", near), (("a",), ("b",))),
        lambda: Vocabulary.from_names(["cat"], synonyms={"cat": [near]}),
    ):
        with pytest.raises(UserError) as caught:
            create()
        assert repr("cat") in caught.value.what
        assert repr(near) in caught.value.what


def test_letters_that_fold_to_the_same_are_near_duplicates():
    with pytest.raises(UserError):
        as_vocabulary(["Straße", "STRASSE"])


@pytest.mark.parametrize(
    ("word", "fix"), [("cat,grass", "cat grass"), ("cat, grass , sky", "cat grass sky"), ("cat,", "cat")]
)
def test_a_comma_in_a_word_is_refused_and_the_fix_has_the_separate_words(word, fix):
    for words in (word, [word], {"cat": [word]}, {"cat": word}):
        with pytest.raises(UserError) as caught:
            as_vocabulary(words)
        assert repr(word) in caught.value.what
        assert caught.value.fix.endswith(fix)
    with pytest.raises(UserError):
        as_vocabulary(["cat"], synonyms={"cat": [word]})
    assert Vocabulary.from_names([word]).classes == (word,)  # official class names may have commas


@pytest.mark.parametrize("words", [[], (), {}, "", " ", ["cat", ""], {"cat": []}, [None], ["cat", 3], {3: ["cat"]}])
def test_values_that_are_not_words_are_refused(words):
    with pytest.raises(UserError):
        as_vocabulary(words)


def test_a_string_in_place_of_a_list_of_names_is_refused():
    with pytest.raises(UserError) as caught:
        Vocabulary.from_names("cat")
    assert "['cat']" in caught.value.fix


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.class_list])
def test_each_shipped_class_list_is_a_vocabulary(name):
    names, words = class_list(DATASETS[name].class_list).names, class_words(name)
    vocabulary = Vocabulary.from_names(names, synonyms=words.synonyms, background=words.background)
    assert vocabulary.classes == names


def test_the_classes_of_the_scenes_and_the_shipped_words_are_vocabularies():
    names = open_dataset("scenes").class_list.names
    assert Vocabulary.from_names(names).classes == as_vocabulary(names).classes == names
    assert read_vocabulary(ROOT / "configs" / "pseudo_label" / "words.yaml").classes


def test_a_class_has_the_score_of_its_best_phrase():
    vocabulary = as_vocabulary({"cat": ["cat", "kitten"], "grass": ["grass"]})
    scores = torch.rand(2, 3, 4, 5)
    expected = torch.stack([scores[:, :2].max(dim=1).values, scores[:, 2]], dim=1)
    assert torch.equal(vocabulary.pool(scores), expected)
