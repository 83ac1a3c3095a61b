"""What is asked of an image: classes, and the phrases that stand for each.

A class may have several phrases (synonyms, or several words for the background). Every phrase becomes one concept:

    classes   cat            grass     background
    phrases   cat, kitten    grass     wall, floor, sky
    concept   0    1         2         3     4      5        C = 6 concepts, K = 3 classes
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca_seg.errors import UnknownName, UserError

if TYPE_CHECKING:
    import torch

AUTO = "auto"  # in place of words: those of each image's caption
BACKGROUND = "background"
REST = (BACKGROUND, "ground", "floor", "wall", "sky", "tree", "grass", "water", "road", "building")  # words for it
IGNORE_INDEX = 255  # void: the pixels of a mask that belong to no class and are never scored


@dataclass(frozen=True)
class Vocabulary:
    """K classes, each with one or more phrases (C phrases in all).

    Two classes or phrases that differ only in case or in spaces at their ends are refused. They would be two nearly
    identical concepts, and the order of the list would decide which of them wins.

    Args:
        classes: K names
        phrases: for each class the phrases it is asked by
        background: index of the class that stands for everything else, or None

    Raises:
        UserError: for no class, a class without a phrase, an empty phrase, and for near duplicates
    """

    classes: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    background: int | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise UserError("no concept was given", allowed="one or more words", fix="name what to look for: cat grass")
        if len(self.classes) != len(self.phrases):
            raise UserError(f"{len(self.classes)} classes but phrases for {len(self.phrases)}")
        _check_text((*self.classes, *(phrase for phrases in self.phrases for phrase in phrases)))
        for name, phrases in zip(self.classes, self.phrases, strict=True):
            if not phrases or any(not phrase.strip() for phrase in phrases):
                raise UserError(f"class {name!r} has an empty phrase", allowed="one or more words for each class")
        _check_distinct("class", self.classes)
        _check_distinct("phrase", self.concepts)
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
        """One class per name, asked by its name and by its synonyms.

        Args:
            names: the classes
            synonyms: further phrases of a class
            background: the name of the class that stands for everything else
            template: a sentence to put each phrase into, with one {} for the phrase

        Raises:
            UserError: as the constructor, and for synonyms or a background of no class, or a template without one {}

        Example:
            >>> Vocabulary.from_names(["cat", "grass"], synonyms={"cat": ["kitten"]}).concepts
            ('cat', 'kitten', 'grass')
        """
        if isinstance(names, str):
            raise UserError(f"the names are one text, {names!r}", allowed="a list of names", fix=f"give [{names!r}]")
        names, synonyms = tuple(names), synonyms or {}
        for name in synonyms:
            if name not in names:
                raise UnknownName("class with synonyms", name, names)
        if background is not None and background not in names:
            raise UnknownName("background class", background, names)
        check_template(template)
        _check_text((*names, *(phrase for name in names for phrase in synonyms.get(name, ()))))
        phrases = tuple(
            tuple(template.replace("{}", phrase) for phrase in (name, *synonyms.get(name, ()))) for name in names
        )
        return cls(names, phrases, None if background is None else names.index(background))

    @property
    def concepts(self) -> tuple[str, ...]:
        """The C phrases in order, class by class."""
        return tuple(phrase for phrases in self.phrases for phrase in phrases)

    def in_template(self, template: str) -> Vocabulary:
        """The same classes, each phrase put into a sentence with one {}. Raises UserError."""
        check_template(template)
        phrases = tuple(tuple(template.replace("{}", phrase) for phrase in phrases) for phrases in self.phrases)
        return Vocabulary(self.classes, phrases, self.background)

    def pool(self, scores: torch.Tensor, *, dim: int = -3) -> torch.Tensor:
        """Phrase scores [..., C, h, w] to class scores [..., K, h, w]: a class has the score of its best phrase.

        Args:
            scores: of the C phrases
            dim: the dimension of the C phrases
        """
        import torch  # only here: a vocabulary is made and checked without it

        if len(self.concepts) == len(self.classes):
            return scores
        parts = scores.split([len(phrases) for phrases in self.phrases], dim=dim)
        return torch.cat([part.amax(dim=dim, keepdim=True) for part in parts], dim=dim)


# a word, several words, {class: its phrases}, or a vocabulary
Words = str | Sequence[str] | Mapping[str, str | Sequence[str]] | Vocabulary


def is_auto(words: object) -> bool:
    """Whether the only word is "auto": the words are those of captions."""
    return words == AUTO or (isinstance(words, list | tuple) and list(words) == [AUTO])


def as_vocabulary(
    words: Words, *, template: str = "{}", synonyms: Mapping[str, Sequence[str]] | None = None
) -> Vocabulary:
    """A vocabulary from words in any of the forms that users write.

    Args:
        words: one word ("cat"), a list (["cat", "grass"]), a dict of class to phrases ({"cat": ["cat", "kitten"]}), or
            a Vocabulary, to which only the synonyms are added
        template: a sentence to put each phrase into, with one {} for the phrase
        synonyms: further phrases of a class

    Raises:
        UserError: for no word, an empty one, one that is not text, two that differ only in case or spaces, and for one
            with a comma ("cat,grass" is nearly always meant as two words)

    Example:
        >>> as_vocabulary(["cat", "grass"]).classes
        ('cat', 'grass')
    """
    check_template(template)
    vocabulary = words if isinstance(words, Vocabulary) else _from_words(words, template)
    if not synonyms:
        return vocabulary
    for name in synonyms:
        if name not in vocabulary.classes:
            raise UnknownName("class with synonyms", name, vocabulary.classes)
    check_single_words([phrase for phrases in synonyms.values() for phrase in phrases])
    phrases = tuple(
        (*phrases, *(template.replace("{}", phrase) for phrase in synonyms.get(name, ())))
        for name, phrases in zip(vocabulary.classes, vocabulary.phrases, strict=True)
    )
    return Vocabulary(vocabulary.classes, phrases, vocabulary.background)


def is_background(name: str) -> bool:
    """Whether a class is called "background", in any case."""
    return name.strip().casefold() == BACKGROUND


def check_template(template: str) -> None:
    """Raises UserError for a template without exactly one {}."""
    count = template.count("{}")
    if count != 1:
        raise UserError(f"the template {template!r} has {count} places for the phrase", allowed="one {}, where it goes")


def _from_words(words: str | Sequence[str] | Mapping[str, str | Sequence[str]], template: str) -> Vocabulary:
    if not isinstance(words, Mapping):
        if not isinstance(words, Iterable):
            raise UserError(f"the words are {words!r}", allowed="a word, a list of words, or {class: phrases}")
        names = [words] if isinstance(words, str) else list(words)
        check_single_words(names)
        return Vocabulary.from_names(names, template=template)
    _check_text(words)
    for name, value in words.items():
        if not isinstance(value, Iterable):
            raise UserError(f"the phrases of {name!r} are {value!r}", allowed="a word, or a list of words")
    by_class = {name: [phrases] if isinstance(phrases, str) else list(phrases) for name, phrases in words.items()}
    check_single_words([phrase for phrases in by_class.values() for phrase in phrases])
    phrases = (tuple(template.replace("{}", phrase) for phrase in phrases) for phrases in by_class.values())
    return Vocabulary(tuple(by_class), tuple(phrases))


def _check_text(words: Iterable[object]) -> None:
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"the word {word!r} is not text", allowed="words such as 'cat'")


def check_single_words(words: Collection[str]) -> None:
    """Raises UserError for a word that is no text, and for one with a comma: it is nearly always meant as several."""
    _check_text(words)
    for word in words:
        if "," in word:
            parts = [part.strip() for part in word.split(",") if part.strip()]
            count = {2: "two words"}.get(len(parts), "one word at a time")
            raise UserError(f"the word {word!r} has a comma", fix=f"give {count}: {' '.join(parts)}")


def _check_distinct(kind: str, words: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for word in words:
        key = word.strip().casefold()
        if key in seen:
            what = f"the {kind} {word!r} is given twice"
            if seen[key] != word:
                what = f"the {kind} names {seen[key]!r} and {word!r} are the same but for case or spaces"
            raise UserError(what, allowed=f"each {kind} once", fix="remove one of them")
        seen[key] = word
