"""The words of each image, from its caption, and the class list of a dataset that they make: the words "auto".

    captions of all images ──► nouns ──► the dataset's classes: background, then the nouns, most frequent first
                                  └────► an image is offered its own nouns and the background, and nothing else

The background of an image is made of common surroundings (`REST`) that its caption does not name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ca_seg.backbones.text.caption_words import words_of_caption
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import UserError
from ca_seg.labelling.output import MAX_CLASSES
from ca_seg.vocabulary import BACKGROUND, REST, Vocabulary


@dataclass(frozen=True)
class ImageWords:
    """What is looked for in each image.

    Args:
        vocabulary: the classes of the dataset; the first is the background
        by_image: the words of each image by its key, all of them classes; none for a caption that names nothing
        left_out: words that are in too few images to be among the classes
    """

    vocabulary: Vocabulary
    by_image: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of_captions(cls, captions: Mapping[str, str], most: int = MAX_CLASSES) -> ImageWords:
        """From the captions by image.

        Args:
            captions: by key
            most: the largest number of classes, with the background; the rarest words are left out

        Raises:
            UserError: for captions that name nothing
        """
        table = shipped_table()
        words = {key: words_of_caption(caption, table) for key, caption in captions.items()}
        count = Counter(word for nouns in words.values() for word in nouns)
        by_count = sorted(count, key=lambda word: (-count[word], word))
        kept, left_out = by_count[: most - 1], by_count[most - 1 :]
        if not kept:
            raise UserError(
                f"the captions of {len(captions)} images name nothing to look for", fix="give words, or other images"
            )
        chosen = set(kept)
        by_image = {key: tuple(word for word in nouns if word in chosen) for key, nouns in words.items()}
        return cls(_with_background(kept, table), by_image, tuple(left_out))

    def of(self, key: str) -> Vocabulary | None:
        """What an image is offered: the background and its words; None where it has no word."""
        words = self.by_image.get(key)
        return _with_background(words, shipped_table()) if words else None

    def classes_of(self, key: str) -> list[int]:
        """For each class that an image is offered its index in the dataset's classes."""
        position = {name: index for index, name in enumerate(self.vocabulary.classes)}
        return [0, *(position[word] for word in self.by_image[key])]


def _with_background(words: list[str] | tuple[str, ...], table: WordTable) -> Vocabulary:
    rest = tuple(word for word in REST if word not in words and table.knows(word))
    return Vocabulary((BACKGROUND, *words), (rest, *((word,) for word in words)), background=0)
