"""The ImageNet classes that a word covers, by WordNet: "dog" covers the 118 breeds of dogs, "sky" none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from recipes.mini.words.wordnet import Nouns

Leaves = Mapping[str, frozenset[int]]  # a word (as `lemma` writes it) to class numbers, 0 to 999


def lemma(word: str) -> str:
    """A word in WordNet's spelling."""
    return word.strip().lower().replace(" ", "_")


def imagenet_synsets() -> tuple[str, ...]:
    """The WordNet offsets of ImageNet's 1,000 classes, in their order."""
    from timm.data import ImageNetInfo

    return tuple(name.removeprefix("n") for name in ImageNetInfo("imagenet-1k").label_names())


def covered_classes(nouns: Nouns, classes: Sequence[str]) -> Leaves:
    """For each word the classes that are one of its senses, or lie below one. A word that covers none is not in it.

    Args:
        nouns: WordNet
        classes: the offset of each class's synset

    Raises:
        KeyError: for an offset that is not in WordNet
    """
    covered: dict[str, set[int]] = defaultdict(set)
    for number, offset in enumerate(classes):
        for above in _upwards(nouns, offset):
            for word in nouns.synsets[above].lemmas:
                covered[lemma(word)].add(number)
    return {word: frozenset(numbers) for word, numbers in covered.items()}


def _upwards(nouns: Nouns, offset: str) -> set[str]:
    """The offsets of a synset and of all above it."""
    visited, waiting = set(), [offset]
    while waiting:
        current = waiting.pop()
        if current not in visited:
            visited.add(current)
            waiting += nouns.synsets[current].hypernyms
    return visited
