"""Concrete nouns of WordNet 3.0, read from its database files (Debian: wordnet-base)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
CONCRETE = {"05", "06", "08", "13", "17", "20", "27"}  # animal, artifact, body, food, object, plant, substance
VISIBLE = CONCRETE - {"08", "27"}  # visible in photographs; without WordNet's anatomy and chemistry
COARSE = re.compile(
    r"obscene|vulgar|\bslur|\boffensive|taboo|street name|disparag|derog|slang|spermato|prostitut|penis"
)
COARSE_WORDS = {"boob", "chink", "coon", "fag", "faggot", "gook", "loony bin", "nuthouse", "piss", "tit", "titty"}
HYPERNYM = ("@", "@i")  # a kind of, an instance of
REFERENCE = 3000


@dataclass(frozen=True)
class Synset:
    lexfile: str
    lemmas: tuple[str, ...]  # in WordNet's spelling, with the capitals of names
    gloss: str
    hypernyms: tuple[str, ...] = ()  # the offsets of the synsets above it


@dataclass(frozen=True)
class Nouns:
    """`senses` of a lemma (lower case, spaces as underscores) in order of frequency; `synsets` by offset."""

    senses: dict[str, tuple[Synset, ...]]
    synsets: dict[str, Synset]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Nouns:
        synsets = {}
        for line in _entries(folder / "data.noun"):
            data, gloss = line.split(" | ", 1)
            offset, lexfile, _, count, *rest = data.split(" ")
            words = 2 * int(count, 16)
            pointers = rest[words + 1 :]  # symbol, offset, part of speech, words; four by four
            hypernyms = tuple(pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] in HYPERNYM)
            synsets[offset] = Synset(lexfile, tuple(rest[:words:2]), gloss, hypernyms)
        senses = {}
        for line in _entries(folder / "index.noun"):
            lemma, _, count, *rest = line.split()
            senses[lemma] = tuple(synsets[offset] for offset in rest[-int(count) :])
        return cls(senses, synsets)

    def concrete(self, word: str, among: int) -> Synset | None:
        """The first concrete sense among the first `among` senses of `word`; None for names and coarse words."""
        lemma = word.replace(" ", "_")
        first = self.senses.get(lemma, ())[:among]
        if word in COARSE_WORDS or any(COARSE.search(synset.gloss) for synset in first):
            return None
        return next((s for s in first if s.lexfile in CONCRETE and lemma in s.lemmas), None)

    def synonyms(self, word: str) -> list[str]:
        """Words whose first sense is the first sense of `word`, if that is concrete."""
        synset = self.concrete(word, 1)
        if synset is None:
            return []
        lemmas = [lemma.replace("_", " ") for lemma in synset.lemmas if lemma.islower()]
        return [lemma for lemma in lemmas if lemma != word and self.concrete(lemma, 1) is synset]


def frequent_nouns(folder: Path = FOLDER) -> list[str]:
    """The most frequent concrete nouns of WordNet's sense-tagged texts.

    The table's mean and spread are computed from them, and the trained weights depend on both: do not change this rule.
    """
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text(encoding="ascii").splitlines():
        sense, _, count = line.split()
        lemma, code = sense.split("%")
        part, lexfile = code.split(":")[:2]
        if part == "1" and lexfile in CONCRETE:
            counts[lemma.replace("_", " ")] += int(count)
    return [word for word, _ in counts.most_common(REFERENCE) if re.fullmatch("[a-z ]+", word)]


def _entries(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")]
