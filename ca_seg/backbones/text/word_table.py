"""The words of the backbones that ship: several thousand nouns with one vector each, from a frozen text model.

So a user installs no text model, and words of similar meaning have similar vectors ("automobile" is near "car"). A
phrase in the table is one token. Other phrases are split into the longest words that are in the table:

    "traffic light"      -> [traffic light]
    "red traffic light"  -> [red, traffic light]
    "cats"               -> [cat]                  a regular plural of a word in the table
    "a cat on the grass" -> [cat, grass]           stop words are skipped
    ""                   -> [zeros]                the empty prompt

Capitals do not matter, and `_`, `-` separate words as a space does. A comma also ends an entry: "hot, dog" is two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ca_seg.bounded_files import read_yaml
from ca_seg.errors import CorruptWeights, UnknownName, UnknownNames, WeightsUnavailable

CARD, VECTORS, WORDS = "card.yaml", "words.safetensors", "words.txt"
STOP_WORDS = frozenset(
    ["a", "an", "and", "at", "beside", "by", "from", "in", "near", "of", "on", "over", "some", "the", "with"]
)
_LISTED = f"checkpoints/words/{WORDS} lists them"
_FIX = "install ca_seg again, or restore the file from its source"
_PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"))  # endings: plural, singular; in order


class WordTable:
    """Words [W], lower case, and their vectors [W, D] (fp32, about unit variance; D is 384 in the table that ships)."""

    def __init__(self, words: Sequence[str], vectors: torch.Tensor) -> None:
        self.words, self.vectors = tuple(words), vectors.float()
        self._index = {_key(word): i for i, word in enumerate(self.words)}
        self._row_of: dict[str, list[int]] = {}  # of the phrases that were looked up before
        self._longest = max(key.count(" ") + 1 for key in self._index)

    @classmethod
    def load(cls, folder: Path) -> WordTable:
        """The table in `folder`, read once per process.

        Raises WeightsUnavailable for a missing file, CorruptWeights for files that differ from their card.
        """
        return _load(Path(folder).resolve())

    def __contains__(self, phrase: str) -> bool:
        """Whether the whole phrase, or its singular, is one entry."""
        return self._find(_key(phrase)) is not None

    def knows(self, phrase: str) -> bool:
        """Whether all words of a phrase are in the table."""
        return all(isinstance(part, int) for part in self._split(phrase))

    def tokens(self, phrase: str) -> tuple[str, ...]:
        """The words of the table that make up `phrase`, longest match first, without stop words; none for "".

        A regular plural (cats, boxes, cherries, wolves) falls back to its singular.
        Raises UnknownName, as `check` does.
        """
        return tuple(self.words[i] for i in self._rows([phrase])[0])

    def matches(self, text: str) -> tuple[str, ...]:
        """The words of the table in a text, as `tokens` splits it; what is not in the table is left out."""
        return tuple(self.words[part] for part in self._split(text) if isinstance(part, int))

    def check(self, phrases: Sequence[str]) -> None:
        """Raises UnknownName, with words of similar spelling, for all words of phrases that are not in the table."""
        self._rows(phrases)

    def vector(self, word: str) -> torch.Tensor:
        """[D], of one entry. Raises UnknownName."""
        index = self._find(_key(word))
        if index is None:
            raise self._unknown(word, word)
        return self.vectors[index]

    def embed(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors [P, T, D] padded with zeros, and mask [P, T], True for tokens.

        T is the most tokens of any phrase. An empty phrase has one token of zeros. Raises UnknownName, as `check` does.
        """
        rows = self._rows(phrases)
        longest = max((len(row) for row in rows), default=1) or 1
        vectors = torch.zeros(len(rows), longest, self.vectors.shape[1])
        mask = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        vectors[mask] = self.vectors[[index for row in rows for index in row]]
        mask[:, 0] = True
        return vectors, mask

    def nearest(self, word: str, among: Sequence[str], count: int = 3) -> list[str]:
        """The `count` words of `among` nearest in meaning to `word`: by the cosine of the mean of their tokens."""
        query, candidates = (self.embed(phrases)[0].sum(dim=1) for phrases in ([word], among))
        order = torch.nn.functional.cosine_similarity(query, candidates).argsort(descending=True, stable=True)
        return [among[i] for i in order[:count].tolist()]

    def far_from(self, phrases: Sequence[str], among: Sequence[str], near: float) -> tuple[str, ...]:
        """Those of `among` whose cosine with every phrase (the mean of its tokens) is below `near`, in their order."""
        if not among:
            return ()
        asked, candidates = (
            torch.nn.functional.normalize(self.embed(words)[0].sum(dim=1), dim=1) for words in (phrases, among)
        )
        highest = (candidates @ asked.T).amax(dim=1)
        return tuple(word for word, cosine in zip(among, highest.tolist(), strict=True) if cosine < near)

    def _find(self, key: str) -> int | None:
        """The index of a word, or of its singular."""
        return next((self._index[form] for form in _forms(key) if form in self._index), None)

    def _rows(self, phrases: Sequence[str]) -> list[list[int]]:
        """The indices of the words that make up each phrase. Raises UnknownName for all that are not in the table."""
        unknown: dict[str, str] = {}  # word: the phrase that it is in
        for phrase in phrases:
            if phrase not in self._row_of:
                parts = list(self._split(phrase))
                missing = {part: phrase for part in parts if isinstance(part, str)}
                unknown |= missing
                if not missing:
                    self._row_of[phrase] = [part for part in parts if isinstance(part, int)]
        if len(unknown) > 1:
            raise UnknownNames("words", list(unknown), self.words, fix=f"use nouns of the table ({_LISTED})")
        for word, phrase in unknown.items():
            raise self._unknown(word, phrase)
        return [self._row_of[phrase] for phrase in phrases]

    def _split(self, phrase: str) -> Iterator[int | str]:
        """The indices of the words that make up a phrase; a word that is not in the table as it is."""
        everything = _key(phrase).split()
        if everything and STOP_WORDS.issuperset(everything):
            yield everything[0]
            return
        for part in phrase.split(","):
            yield from self._entries(_key(part).split())

    def _entries(self, parts: Sequence[str]) -> Iterator[int | str]:
        """The same for the words of a phrase without a comma."""
        while parts:
            for length in range(min(self._longest, len(parts)), 0, -1):
                index = self._find(" ".join(parts[:length]))
                if index is not None:
                    yield index
                    parts = parts[length:]
                    break
            else:
                if parts[0] not in STOP_WORDS:
                    yield parts[0]
                parts = parts[1:]

    def _unknown(self, word: str, phrase: str) -> UnknownName:
        where = "" if word == _key(phrase) else f"in {phrase!r} "
        fix = f"use a noun of the table {where}({_LISTED})"
        return UnknownName("word", word, self.words, fix=fix)


def _key(phrase: str) -> str:
    """How phrases are looked up: `Ping-Pong` and `ping_pong` are `ping pong`."""
    return " ".join(re.split(r"[\s_,-]+", phrase.lower())).strip()


def _forms(key: str) -> Iterator[str]:
    """The word, then its possible singulars. Short words and those in -ss, -us, -is are not regular plurals."""
    yield key
    if len(key) > 3 and not key.endswith(("ss", "us", "is")):
        for plural, singular in _PLURALS:
            if key.endswith(plural):
                yield key.removesuffix(plural) + singular


@cache
def _load(folder: Path) -> WordTable:
    for name in (CARD, VECTORS, WORDS):
        if not (folder / name).is_file():
            raise WeightsUnavailable(f"the word table's file {folder / name} is missing", fix=_FIX)
    try:
        checksums = read_yaml(folder / CARD)["checksums"]
        expected = {name: checksums[name] for name in (VECTORS, WORDS)}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CorruptWeights(f"{folder / CARD} does not name the table's checksums", fix=_FIX) from problem
    for name, checksum in expected.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != checksum:
            raise CorruptWeights(f"{folder / name} is not the file that {CARD} beside it names (sha256)", fix=_FIX)
    words = (folder / WORDS).read_text(encoding="utf-8").splitlines()
    try:
        vectors = load_file(folder / VECTORS)["vectors"]
    except (SafetensorError, KeyError) as problem:
        raise CorruptWeights(f"{folder / VECTORS} is not a table of vectors ({problem})", fix=_FIX) from problem
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise CorruptWeights(f"{folder}: {len(words)} words, but vectors of shape {tuple(vectors.shape)}", fix=_FIX)
    return WordTable(words, vectors)
