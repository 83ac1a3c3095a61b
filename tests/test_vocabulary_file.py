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
    sentences = [[phrase[len("a photo of a ") : -len(", {curly}")] for phrase in phrases] for phrases in words.phrases]
    assert sentences == [["cat"], ["grass", "lawn"], ["car", "big truck"]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", "classes"),
        ("[cat, dog]", "classes"),
        ("classes: {cat: [kitten]}", "classes"),
        ("classes: []", "words.yaml"),
        ("classes: [cat", "words.yaml"),
        (b"classes: [\xff\xfe]", "words.yaml"),
        ("classes: [cat, no]", "False"),
        ("classes: [cat, 3]", r"\b3\b"),
        ("classes: [cat, cat]", "'cat'"),
        ("classes: [cat, Cat]", "'cat'.*'Cat'"),
        ("classes: [cat, {name: dog, synonyms: [cat]}]", "'cat'"),
        ("classes: [cat, '  ']", "words.yaml"),
        ("classes: [cat, {name: dog, phrases: []}]", "dog"),
        ("classes: [cat, {name: dog, phrases: hound}]", "'dog'.*'hound'"),
        ("classes: [cat, {name: dog, phrases: [x], synonyms: [y]}]", "'dog'.*synonyms.*phrases"),
        ("classes: [cat, {nam: dog}]", "'name'"),
        ("classes: [cat]\nbackgruond: cat", "'background'"),
        ("classes: [cat]\nbackground: dog", "'dog'"),
        ("classes: [cat]\ntemplate: a photo", "'a photo'"),
        ("classes: [cat]\ntemplate: '{} on {}'", "{} on {}"),
        ("classes: [cat]\ntemplate: 3", "3"),
        ("classes: [cat]\nclasses: [dog]", "'classes'"),
        ("classes: [cat]\n? [a, b]\n: c", "words.yaml"),
        ("!!python/object/apply:os.system [ls]", "words.yaml"),
    ],
)
def test_a_wrong_file_raises_one_line_that_names_the_file(read, text, value):
    with pytest.raises(UserError, match=value) as problem:
        read(text)
    assert "words.yaml" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read_vocabulary(tmp_path / "nowhere.yaml")
