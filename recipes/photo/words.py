"""Words of the training pictures: which table word a name means, which words hold each other, what a caption says."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import timm
import torch
import yaml

from ca_seg.backbones.text.word_table import WordTable
from recipes.mini.words.wordnet import FOLDER, entries

MOST_LEAVES = 120  # of ImageNet's 1,000 classes below a word; wider words ("artifact") say nothing
VISIBLE = {"05", "06", "08", "13", "17", "20"}  # animal, artifact, body, food, object, plant
GROUPS = yaml.safe_load((Path(__file__).parent / "word_groups.yaml").read_text(encoding="utf-8"))
PERSONS, VAGUE, STUFF = (frozenset(GROUPS[name]) for name in ("persons", "vague", "stuff"))
NEAR = [frozenset(group) for group in GROUPS["near"]]


@dataclass(frozen=True)
class Synset:
    kind: str
    lemmas: tuple[str, ...]
    above: tuple[str, ...]  # offsets of its hypernyms


class Lexicon:
    """WordNet's nouns beside the word table and ImageNet's classes."""

    def __init__(self, table: WordTable, folder: Path = FOLDER) -> None:
        self.table, self.entries, self.synsets = table, frozenset(table.words), {}
        for line in entries(folder / "data.noun"):
            offset, kind, _, count, *rest = line.split(" | ", 1)[0].split(" ")
            lemmas = tuple(re.sub(r"\(.*", "", w).lower().replace("_", " ") for w in rest[: 2 * int(count, 16) : 2])
            pointers = rest[2 * int(count, 16) :]
            above = tuple(pointers[2 + 4 * i] for i in range(int(pointers[0])) if pointers[1 + 4 * i] in ("@", "@i"))
            self.synsets[offset] = Synset(kind, lemmas, above)
        listed = Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt"
        self.classes = [line.strip()[1:] for line in listed.read_text().splitlines()]
        self.first: dict[str, str] = {}
        for line in entries(folder / "index.noun"):
            lemma, _, count, *rest = line.split()
            self.first[lemma.replace("_", " ")] = rest[-int(count)]

    @cached_property
    def leaves(self) -> dict[str, frozenset[int]]:
        """The ImageNet classes below each word of the table that has some, and not too many."""
        below: dict[str, set[int]] = {}
        for index, offset in enumerate(self.classes):
            seen, queue = set(), [offset]
            while queue:
                current = queue.pop()
                if current not in seen:
                    seen.add(current)
                    queue += self.synsets[current].above
            for synset in seen:
                for lemma in self.synsets[synset].lemmas:
                    if lemma in self.entries:
                        below.setdefault(lemma, set()).add(index)
        return {word: frozenset(rows) for word, rows in below.items() if len(rows) <= MOST_LEAVES}

    def word(self, name: str) -> str:
        """The table's word for a name or a WordNet number (n01440764), or the nearest wider word; "" for none."""
        if not re.fullmatch(r"n\d{8}", name):
            return name if name in self.entries else ""
        queue = [name[1:]]
        for offset in queue:
            entry = next((w for w in self.synsets[offset].lemmas if w in self.leaves), "")
            if entry:
                return entry
            queue += self.synsets[offset].above
        return ""

    def said(self, captions: list[str]) -> set[str]:
        """The visible nouns that two or more captions of a picture name; people are also "person"."""
        counts: Counter[str] = Counter()
        for caption in captions:
            words = re.findall(r"[a-z]+", caption.lower())
            pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
            found = {self._entry(word) for word in words + pairs} - {""}
            counts.update(found | ({"person"} if found & PERSONS else set()))
        return {word for word, count in counts.items() if count >= 2}

    def _entry(self, word: str) -> str:
        """The table's entry for a visible noun or its plural; "" for anything else."""
        if word not in self.table:
            return ""
        entry = self.table.tokens(word)[0]
        if entry in VAGUE or entry not in self.first:
            return ""
        visible = entry in PERSONS or self.synsets[self.first[entry]].kind in VISIBLE
        return entry if visible else ""


def near(words: set[str], lexicon: Lexicon, among: list[str]) -> set[str]:
    """The words of `among` that may be true where one of `words` is."""
    leaves = lexicon.leaves
    below = frozenset().union(*(leaves.get(word, frozenset()) for word in words))
    grouped = set().union(*(group for group in NEAR if group & words)) if words else set()
    return {w for w in among if w in grouped or leaves.get(w, frozenset()) & below} | grouped


def membership(lexicon: Lexicon, words: list[str]) -> torch.Tensor:
    """[W, 1000], 1 where a word holds a class of ImageNet."""
    matrix = torch.zeros(len(words), len(lexicon.classes))
    for row, word in enumerate(words):
        matrix[row, list(lexicon.leaves[word])] = 1
    return matrix
