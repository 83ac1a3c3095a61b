"""Vocabularies in files."""

from __future__ import annotations

import pytest

from ca_seg.errors import UserError
from ca_seg.vocabulary_file import read_vocabulary


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "words.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_vocabulary(file)

    return read


def test_names_synonyms_phrases_background_and_template(read):
    words = read(
        """
        classes: [cat, {name: grass, synonyms: [lawn]}, {name: n0123, phrases: [car, big truck]}]
        background: grass
        template: "a photo of a {}, {curly}"
        """
    )
    assert words.classes == ("cat", "grass", "n0123")
    assert words.background == 1
    sentences = [[phrase[len("a photo of a ") : -len(", {curly}")] for phrase in own] for own in words.phrases]
    assert sentences == [["cat"], ["grass", "lawn"], ["car", "big truck"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no list of classes"),
        ("[cat, dog]", "no list of classes"),
        ("classes: {cat: [kitten]}", "no list of classes"),
        ("classes: []", "no concept was given"),
        ("classes: [cat", "cannot be read"),
        (b"classes: [\xff\xfe]", "cannot be read"),
        ("classes: [cat, no]", "which is no word"),
        ("classes: [cat, 3]", "which is no word"),
        ("classes: [cat, cat]", "class 'cat'"),
        ("classes: [cat, Cat]", "'cat' and 'Cat'"),
        ("classes: [cat, {name: dog, synonyms: [cat]}]", "phrase 'cat'"),
        ("classes: [cat, '  ']", "empty phrase"),
        ("classes: [cat, {name: dog, phrases: []}]", "empty phrase"),
        ("classes: [cat, {name: dog, phrases: hound}]", "a list of words"),
        ("classes: [cat, {name: dog, phrases: [x], synonyms: [y]}]", "synonyms and phrases"),
        ("classes: [cat, {nam: dog}]", "'name'"),
        ("classes: [cat]\nbackgruond: cat", "'background'"),
        ("classes: [cat]\nbackground: dog", "'dog'"),
        ("classes: [cat]\ntemplate: a photo", "'a photo'"),
        ("classes: [cat]\ntemplate: '{} on {}'", "{} on {}"),
        ("classes: [cat]\ntemplate: 3", "3"),
        ("classes: [cat]\nclasses: [dog]", "'classes'"),
        ("classes: [cat]\n? [a, b]\n: c", "unknown key|cannot be read"),
        ("!!python/object/apply:os.system [ls]", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(read, text, said):
    with pytest.raises(UserError, match=said) as problem:
        read(text)
    assert "words.yaml" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        read_vocabulary(tmp_path / "nowhere.yaml")
