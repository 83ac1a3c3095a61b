"""The things that a caption names: the nouns of the word table that stand in it, the longest match first.

"Two cats sleep on a hot dog stand, in front of a photo."  ──►  cat, hot dog, stand

And which of some phrases it names: those that stand in it, and the nearest in meaning to each of its nouns.

"Two kittens sleep on a couch."  of  dog, cat, sofa  ──►  cat, sofa
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ca_seg.backbones.text.word_table import WordTable

# nouns of the table that in captions name no thing: of pictures, places in them, numbers, colours, and other words
NOT_THINGS = frozenset((
    "back", "background", "bit", "bottom", "can", "center", "closeup", "color", "colour", "couple", "edge",
    "foreground", "front", "group", "image", "left", "may", "middle", "number", "part", "photo", "photograph",
    "picture", "piece", "right", "row", "shape", "shot", "side", "stock", "three", "top", "two", "well",
    "black", "blue", "brown", "gold", "gray", "green", "grey", "orange", "pink", "purple", "red", "silver",
    "white", "yellow",
))  # fmt: skip
# cosine of word vectors from which on a noun means a phrase: woman, person 0.546; chair, sofa 0.45; dog, cat 0.39
NEAR = 0.54
_BREAKS = re.compile(r"[^\w\s'-]+|'s\b|[\d_]+")  # nothing matches across them


def words_of_caption(caption: str, table: WordTable) -> tuple[str, ...]:
    """The words of the table in a caption, in their order, each once. Plurals are given in the singular.

    The table holds nouns only, so that other words are left out; a verb that is spelled as a noun ("stand") stays.
    """
    words = (word for piece in _BREAKS.split(caption) for word in table.matches(piece))
    return tuple(dict.fromkeys(word for word in words if word not in NOT_THINGS))


def phrases_of_caption(caption: str, phrases: Sequence[str], table: WordTable) -> tuple[str, ...]:
    """Those of the phrases that a caption names, in their order.

    A phrase is named where its words stand in the caption, and where it is the nearest in meaning of all phrases to a
    noun of the caption, but for longer phrases with this noun ("dog" is no "hot dog"). Phrases that the table does not
    know are looked up as they are spelled.
    """
    text = " ".join(_BREAKS.sub(" . ", caption.casefold()).split())
    named = {phrase for phrase in phrases if _has_word(text, phrase)}
    known = [phrase for phrase in phrases if table.knows(phrase)]
    for noun in words_of_caption(caption, table):
        others = [phrase for phrase in known if table.tokens(phrase) == (noun,) or not _has_word(phrase, noun)]
        for nearest in table.nearest(noun, others, 1) if others else ():
            named |= {nearest} - set(table.far_from([noun], [nearest], NEAR))
    return tuple(phrase for phrase in phrases if phrase in named)


def _has_word(text: str, words: str) -> bool:
    """Whether words stand in a text, as they are spelled but for capitals."""
    return re.search(rf"(?<!\w){re.escape(words.casefold())}(?!\w)", text.casefold()) is not None
