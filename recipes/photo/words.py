"""Words of the training pictures: which table word a name means, which words hold each other, what a caption says."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import cached_property
from pathlib import Path

import torch
import yaml

from ca_seg.backbones.text.word_table import WordTable
from recipes.mini.words.wordnet import Nouns
from recipes.photo_baselines.leaves import covered_classes, imagenet_synsets, lemma

MOST_LEAVES = 120  # of ImageNet's 1,000 classes below a word; wider words ("artifact") say nothing
VISIBLE = {"05", "06", "08", "13", "17", "20"}  # animal, artifact, body, food, object, plant
GROUPS = yaml.safe_load((Path(__file__).parent / "word_groups.yaml").read_text(encoding="utf-8"))
PERSONS, VAGUE, STUFF = (frozenset(GROUPS[name]) for name in ("persons", "vague", "stuff"))
KINDS_OF = {kind: word for word, kinds in GROUPS["kinds"].items() for kind in kinds}
NEAR = [frozenset(group) for group in GROUPS["near"]]
ALIKE = [tuple(group) for group in GROUPS["alike"]]


class Lexicon:
    """WordNet's nouns beside the word table and ImageNet's classes."""

    def __init__(self, table: WordTable) -> None:
        self.table, self.entries, self.nouns = table, frozenset(table.words), Nouns.read()

    @cached_property
    def leaves(self) -> dict[str, frozenset[int]]:
        """The ImageNet classes below each word of the table that has some, and not too many; sorted by word."""
        covered = covered_classes(self.nouns, imagenet_synsets())
        by_word = {_spoken(name): classes for name, classes in sorted(covered.items())}
        return {w: classes for w, classes in by_word.items() if w in self.entries and len(classes) <= MOST_LEAVES}

    def word(self, name: str) -> str:
        """The table's word for a name or a WordNet number (n01440764), or the nearest wider word; "" for none."""
        if not re.fullmatch(r"n\d{8}", name):
            return name if name in self.entries else ""
        queue = [name[1:]]
        for offset in queue:
            synset = self.nouns.synsets[offset]
            entry = next((w for w in map(_spoken, synset.lemmas) if w in self.leaves), "")
            if entry:
                return entry
            queue += synset.hypernyms
        return ""

    def said(self, captions: list[str]) -> set[str]:
        """The visible nouns that two or more captions of a picture name; people are also "person"."""
        counts: Counter[str] = Counter()
        for caption in captions:
            words = re.findall(r"[a-z]+", caption.lower())
            pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
            entries = {self._entry(word) for word in words + pairs} - {""}
            counts.update(entries | ({"person"} if entries & PERSONS else set()))
        return {word for word, count in counts.items() if count >= 2}

    def tagged(self, tags: list[str]) -> set[str]:
        """What can be seen among a picture's tags; people are also "person".

        A person who tags a picture means what is seen in it, so a word may also be visible by another sense than its
        first: "tiger" is a class of ImageNet, "snow" a surface.
        """
        seen = self.leaves.keys() | STUFF | frozenset().union(*NEAR)
        known = {self.table.tokens(tag)[0] for tag in tags if tag in self.table}
        entries = ({self._entry(tag) for tag in tags} | (known & seen)) - VAGUE - {""}
        return entries | ({"person"} if entries & PERSONS else set())

    def _entry(self, word: str) -> str:
        """The table's entry for a visible noun or its plural; "" for anything else."""
        if word not in self.table:
            return ""
        entry = self.table.tokens(word)[0]
        senses = self.nouns.senses.get(lemma(entry))
        if entry in VAGUE or senses is None:
            return ""
        return entry if entry in PERSONS or senses[0].lexfile in VISIBLE else ""


def _spoken(name: str) -> str:
    """A word of WordNet as the table spells it."""
    return lemma(name).replace("_", " ")


def near(words: set[str], lexicon: Lexicon, among: list[str]) -> set[str]:
    """The words of `among` that may be true where one of `words` is."""
    leaves = lexicon.leaves
    below = frozenset().union(*(leaves.get(word, frozenset()) for word in words))
    grouped = set().union(*(group for group in NEAR if group & words)) if words else set()
    return {w for w in among if leaves.get(w, frozenset()) & below} | grouped


def with_wider(words: set[str]) -> frozenset[str]:
    """`words`, and what some of them are a kind of."""
    return frozenset(words | {KINDS_OF[word] for word in words & KINDS_OF.keys()})


def membership(lexicon: Lexicon, words: list[str]) -> torch.Tensor:
    """[W, 1000], 1 where a word holds a class of ImageNet."""
    matrix = torch.zeros(len(words), len(imagenet_synsets()))
    for row, word in enumerate(words):
        matrix[row, list(lexicon.leaves[word])] = 1
    return matrix
