"""The nouns of a caption, by the word table that ships."""

from __future__ import annotations

import pytest

from ca_seg.backbones.text.caption_words import NOT_THINGS, words_of_caption
from ca_seg.backbones.text.word_list import shipped_table

TABLE = shipped_table()


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("two cats sleep on a sofa", ("cat", "sofa")),
        ("A traffic light beside a red bus.", ("traffic light", "bus")),  # the longest match
        ("a truck by a fire, a fire truck", ("truck", "fire", "fire truck")),
        ("a fire. Truck", ("fire", "truck")),  # not across a full stop
        ("The dog's ball and another dog", ("dog", "ball")),
        ("a photo of the front of a white house", ("house",)),
        ("", ()),
        ("zqx, 123 [UNK] </s>", ()),
    ],
)
def test_words_of_captions(caption, words):
    assert words_of_caption(caption, TABLE) == words


def test_each_word_is_known_to_the_table():
    caption = "a man rides a horse along the beach while children play near the boats and a mountain rises behind"
    words = words_of_caption(caption, TABLE)
    assert {"man", "horse", "beach", "boat", "mountain"} <= set(words)
    TABLE.check(words)


def test_what_is_left_out_would_be_in_the_table():
    assert [word for word in NOT_THINGS if word not in TABLE] == []
