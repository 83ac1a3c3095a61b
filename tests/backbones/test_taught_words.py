"""Which words training taught: the lists that ship, the phrases that are marked, and lists that cannot be used."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from ca_seg import load_backbone
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.text import word_list
from ca_seg.backbones.text.word_list import read_words, shipped_text
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import CorruptWeights, UnknownName, UserError
from ca_seg.resources import resource_path
from recipes.mini.scenes.taught import taught_words
from tests.small_flux import small_backbone

SHIPPED = ("mini", "mini-plain")


@pytest.fixture
def card(tmp_path, monkeypatch) -> Card:
    """mini's card with a list of two words, and its checksum."""
    (tmp_path / "taught.txt").write_text("cat\ntraffic light\n")
    monkeypatch.setattr(word_list, "resource_path", lambda *parts: tmp_path / parts[-1])
    digest = hashlib.sha256((tmp_path / "taught.txt").read_bytes()).hexdigest()
    return replace(find_card("mini"), taught_words="mini/taught.txt", checksums={"taught.txt": digest})


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_lists_are_what_the_recipe_teaches(name):
    text = shipped_text(find_card(name))
    assert text.taught == taught_words()
    assert len(text.taught) == 166
    assert text.unseen(taught_words()) == {}


def test_a_phrase_is_unseen_if_any_of_its_words_is():
    backbone = load_backbone("mini")
    phrases = ["cat", "Cats", "hot dog", "a dog on the grass", "automobile", "red car", ""]
    assert backbone.text.unseen(phrases) == {"automobile": "car", "red car": "car"}
    assert backbone.unseen({"vehicle": ["automobile", "bus"], "cat": "cat"}) == {"automobile": "car"}
    with pytest.raises(UnknownName, match="zebra"):
        backbone.unseen(["zebr"])


def test_it_is_not_known_for_stock_models_and_other_weights():
    assert small_backbone().unseen(["automobile"]) is None
    assert load_backbone("mini", random_weights=True).unseen(["automobile"]) is None
    assert shipped_text(find_card("flux1-schnell")) is None


def test_a_list_that_is_not_the_cards(card, tmp_path):
    table = WordTable.load(resource_path("checkpoints", "words"))
    assert read_words(card, card.taught_words, table) == ("cat", "traffic light")
    (tmp_path / "taught.txt").write_text("cat\n")
    with pytest.raises(CorruptWeights, match=r"taught\.txt"):
        read_words(card, card.taught_words, table)
    unsigned = replace(card, checksums={})
    assert read_words(unsigned, card.taught_words, table) == ("cat",)
    for content, wrong in (("cat\nzebr\n", "'zebr'"), ("cats\n", "'cats'"), ("", "no words")):
        (tmp_path / "taught.txt").write_text(content)
        with pytest.raises(CorruptWeights, match=wrong):
            read_words(unsigned, card.taught_words, table)


@pytest.mark.parametrize(
    "presence",
    [
        {"reference_words": "mini/reference.txt"},
        {"reference_words": "mini/reference.txt", "threshold": 0.0},
        {"reference_words": "mini/reference.txt", "threshold": "0.4"},
        {"reference_words": "mini/reference.txt", "threshold": 0.4, "treshold": 0.4},
    ],
)
def test_a_card_with_a_presence_that_cannot_be_used(presence, tmp_path):
    with pytest.raises(UserError, match="mini"):
        replace(find_card("mini"), presence=presence)


def test_what_was_measured_holds_for_the_card_as_it_is():
    card = replace(find_card("mini"), presence={"reference_words": "mini/reference.txt", "threshold": 0.4})
    assert card.with_resolution(card.resolution).presence
    assert card.with_pooling("mean").presence
    for other in (card.with_resolution(128), card.with_pooling("first"), card.of_other_weights()):
        assert not other.presence
    assert card.with_resolution(128).taught_words
    assert not card.of_other_weights().taught_words
