"""The things that a caption names: the nouns of the word table that stand in it, the longest match first.

"Two cats sleep on a hot dog stand, in front of a photo."  ──►  cat, hot dog, stand
"""

from __future__ import annotations

import re

from ca_seg.backbones.text.word_table import WordTable

# nouns of the table that in captions name no thing: of pictures, places in them, numbers, colours, and other words
NOT_THINGS = frozenset((
    "back", "background", "bit", "bottom", "can", "center", "closeup", "color", "colour", "couple", "edge",
    "foreground", "front", "group", "image", "left", "may", "middle", "number", "part", "photo", "photograph",
    "picture", "piece", "right", "row", "shape", "shot", "side", "stock", "three", "top", "two", "well",
    "black", "blue", "brown", "gold", "gray", "green", "grey", "orange", "pink", "purple", "red", "silver",
    "white", "yellow",
))  # fmt: skip
_BREAKS = re.compile(r"[^\w\s'-]+|'s\b|[\d_]+")  # nothing matches across them


def words_of_caption(caption: str, table: WordTable) -> tuple[str, ...]:
    """The words of the table in a caption, in their order, each once. Plurals are given in the singular.

    The table holds nouns only, so that other words are left out; a verb that is spelled as a noun ("stand") stays.
    """
    words = (word for piece in _BREAKS.split(caption) for word in table.matches(piece))
    return tuple(dict.fromkeys(word for word in words if word not in NOT_THINGS))
