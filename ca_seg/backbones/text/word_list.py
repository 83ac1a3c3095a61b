"""Lists of words that cards name: the words that training taught, and reference words. One word a line."""

from __future__ import annotations

import hashlib

from ca_seg.backbones.loading.card import Card
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import CorruptWeights
from ca_seg.resources import resource_path


def shipped_text(card: Card) -> WordTableText | None:
    """The text side of a card that takes its words from the table that ships; None for any other card.

    It is read without the backbone's weights. Raises WeightsUnavailable, CorruptWeights.
    """
    if card.text != "word-table":
        return None
    table = shipped_table()
    return WordTableText(table, read_words(card, card.taught_words, table) if card.taught_words else None)


def shipped_table() -> WordTable:
    """The word table that ships, read once per process. Raises WeightsUnavailable, CorruptWeights."""
    return WordTable.load(resource_path("checkpoints", "words"))


def read_words(card: Card, name: str, table: WordTable) -> tuple[str, ...]:
    """The words in a file that a card names.

    Args:
        card: its checksums are compared, where they name the file
        name: the file, below checkpoints/
        table: every word must be an entry of it

    Raises:
        WeightsUnavailable: for a missing file
        CorruptWeights: for a file of another checksum, or with a line that is no word of the table
    """
    file = resource_path("checkpoints", *name.split("/"))
    content = file.read_bytes()
    expected = card.checksums.get(name.removeprefix(f"{card.folder}/"))
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise CorruptWeights(f"{file} is not the file that the card {card.name} names (checksum)", fix="restore it")
    words = tuple(content.decode("utf-8", errors="replace").splitlines())
    entries = set(table.words)
    for number, word in enumerate(words, start=1):
        if word not in entries:
            raise CorruptWeights(f"{file}, line {number}: {word!r} is no word of the word table", fix="restore it")
    if not words:
        raise CorruptWeights(f"{file} has no words", fix="restore it")
    return words
