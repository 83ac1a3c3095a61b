"""What is asked of an image: classes, and the phrases that stand for each.

A class may have several phrases (synonyms, or several words for the background). Every phrase becomes one concept:

    classes   cat            grass     background
    phrases   cat, kitten    grass     wall, floor, sky
    concept   0    1         2         3     4      5        C = 6 concepts, K = 3 classes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca_seg.errors import UserError

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = 255  # void: the pixels of a mask that belong to no class and are never scored


@dataclass(frozen=True)
class Vocabulary:
    """K classes, each with one or more phrases (C phrases in all).

    Raises UserError when there is no class, when a class has no phrase, or when a class or phrase stands twice: a
    phrase that stood for two classes would be two identical concepts, and the winner would be the order of the list.
    """

    classes: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    background: int | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise UserError("no concept was given", allowed="one or more words", fix="name what to look for: cat grass")
        if len(self.classes) != len(self.phrases):
            raise UserError(f"{len(self.classes)} classes but phrases for {len(self.phrases)}")
        for name, own in zip(self.classes, self.phrases, strict=True):
            if not own or any(not phrase.strip() for phrase in own):
                raise UserError(f"class {name!r} has an empty phrase", allowed="one or more words for each class")
        for kind, words in (("class", self.classes), ("phrase", self.concepts)):
            twice = sorted({word for word in words if words.count(word) > 1})
            if twice:
                raise UserError(f"{kind} {twice[0]!r} stands twice in the vocabulary", fix="remove one of them")
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise UserError(f"background is class {self.background}", allowed=f"0 to {len(self.classes) - 1}, or none")

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        *,
        synonyms: Mapping[str, Iterable[str]] | None = None,
        background: str | None = None,
        template: str = "{}",
    ) -> Vocabulary:
        """One class per name, asked by its own name, then by its synonyms, each put into `template`."""
        names, synonyms = tuple(names), synonyms or {}
        strangers = [name for name in synonyms if name not in names]
        if strangers:
            raise UserError(f"synonyms are given for {strangers[0]!r}, which is no class", allowed=", ".join(names))
        if background is not None and background not in names:
            raise UserError(f"the background {background!r} is no class", allowed=", ".join(names))
        if "{}" not in template:
            raise UserError(f"the template {template!r} has no place for the word", fix="write {} where it goes")
        phrases = tuple(tuple(template.format(p) for p in (name, *synonyms.get(name, ()))) for name in names)
        return cls(names, phrases, None if background is None else names.index(background))

    @property
    def concepts(self) -> tuple[str, ...]:
        """The C phrases in order, class by class."""
        return tuple(phrase for own in self.phrases for phrase in own)

    def pool(self, scores: torch.Tensor, *, dim: int = -3) -> torch.Tensor:
        """Phrase scores [..., C, h, w] to class scores [..., K, h, w]: the best phrase of a class speaks for it.

        `dim` is where the C phrases lie.
        """
        import torch  # only here: a vocabulary is made and checked without it

        if len(self.concepts) == len(self.classes):
            return scores
        parts = scores.split([len(own) for own in self.phrases], dim=dim)
        return torch.cat([part.amax(dim=dim, keepdim=True) for part in parts], dim=dim)


# a word, several words, {class: its phrases}, or a vocabulary
Words = str | Sequence[str] | Mapping[str, str | Sequence[str]] | Vocabulary


def as_vocabulary(words: Words, *, template: str = "{}") -> Vocabulary:
    """What users give where a vocabulary is wanted.

    Args:
        words: one word ("cat"), a list (["cat", "grass"]), a dict of class to phrases ({"cat": ["cat", "kitten"]}), or
            a Vocabulary, which is given back as it is
        template: a sentence to put each phrase into, with {} for the phrase

    Raises:
        UserError: for no word, an empty one, one that is not text, or one given twice

    Example:
        >>> as_vocabulary(["cat", "grass"]).classes
        ('cat', 'grass')
    """
    if isinstance(words, Vocabulary):
        return words
    if isinstance(words, str):
        return Vocabulary.from_names([words], template=template)
    if isinstance(words, Mapping):
        named = {name: [given] if isinstance(given, str) else list(given) for name, given in words.items()}
        _check_text([*named, *(phrase for phrases in named.values() for phrase in phrases)])
        phrases = tuple(tuple(template.replace("{}", phrase) for phrase in given) for given in named.values())
        return Vocabulary(tuple(named), phrases)
    names = list(words)
    _check_text(names)
    return Vocabulary.from_names(names, template=template)


def _check_text(words: Iterable[object]) -> None:
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"the word {word!r} is not text", allowed="words such as 'cat'")
