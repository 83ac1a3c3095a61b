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
        ("", r"words\.yaml"),
        ("[cat, dog]", r"words\.yaml"),
        ("classes: {cat: [kitten]}", r"words\.yaml"),
        ("classes: []", r"words\.yaml"),
        ("classes: [cat", r"words\.yaml"),
        (b"classes: [\xff\xfe]", r"words\.yaml"),
        ("classes: [cat, no]", "False"),
        ("classes: [cat, 3]", r"\b3\b"),
        ("classes: [cat, cat]", "'cat'"),
        ("classes: [cat, Cat]", r"'cat'.*'Cat'"),
        ("classes: [cat, {name: dog, synonyms: [cat]}]", "'cat'"),
        ("classes: ['cat,grass']", "'cat,grass'"),
        ("classes: [{name: cat, synonyms: ['kitten,pup']}]", "'kitten,pup'"),
        ("classes: [{name: cat, phrases: ['kitten,pup']}]", "'kitten,pup'"),
        ("classes: [cat, '  ']", r"words\.yaml"),
        ("classes: [cat, {name: dog, phrases: []}]", "dog"),
        ("classes: [cat, {name: dog, phrases: hound}]", r"'dog'.*'hound'"),
        ("classes: [cat, {name: dog, phrases: [x], synonyms: [y]}]", r"'dog'.*synonyms.*phrases"),
        ("classes: [cat, {nam: dog}]", "'name'"),
        ("classes: [cat]\nbackgruond: cat", "'background'"),
        ("classes: [cat]\nbackground: dog", "'dog'"),
        ("classes: [cat]\ntemplate: a photo", "'a photo'"),
        ("classes: [cat]\ntemplate: '{} on {}'", r"\{\} on \{\}"),
        ("classes: [cat]\ntemplate: 3", r"\b3\b"),
        ("classes: [cat]\nclasses: [dog]", "'classes'"),
        ("classes: [cat]\n? [a, b]\n: c", r"words\.yaml"),
        ("!!python/object/apply:os.system [ls]", r"words\.yaml"),
    ],
)
def test_bad_files_are_one_line_with_the_file(read, text, value):
    with pytest.raises(UserError, match=value) as caught:
        read(text)
    assert "words.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read_vocabulary(tmp_path / "nowhere.yaml")
