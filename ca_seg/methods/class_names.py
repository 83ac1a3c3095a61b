"""The classes of a classifier by name: which output stands for a word.

    "tench", "Tinca tinca", "n01440764"  ──►  output 0 of an ImageNet-1k classifier

A word is a class's name, or one of its names where it has several (the lemmas of a WordNet synset), or its WordNet id.
A word that names several classes ("crane") stands for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary

IMAGENET = 1000  # outputs of an ImageNet-1k classifier


class ClassNames:
    """The names of a classifier's outputs.

    Args:
        names: for each output the names of its class

    Raises:
        UserError: for an output without a name
    """

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.names = [tuple(one) for one in names]
        self._indices: dict[str, list[int]] = defaultdict(list)
        for index, several in enumerate(self.names):
            if not several or not all(isinstance(name, str) and name.strip() for name in several):
                raise UserError(f"class {index} has no name", allowed="a name for each output of the network")
            for key in {_key(name) for name in several}:
                self._indices[key].append(index)

    def __len__(self) -> int:
        return len(self.names)

    def outputs(self, word: str) -> list[int]:
        """The outputs that stand for `word`: one, or several where classes share a name ("crane").

        Raises UnknownName, with near names.
        """
        if _key(word) not in self._indices:
            raise UnknownName("class of the network", word, self._indices, fix="a classifier sees its own classes only")
        return self._indices[_key(word)]

    def indices(self, vocabulary: Vocabulary, background: int | None) -> list[list[int]]:
        """For each class of the vocabulary but the background the outputs of its phrases. Raises as `outputs`."""
        return [
            [output for phrase in phrases for output in self.outputs(phrase)]
            for number, phrases in enumerate(vocabulary.phrases)
            if number != background
        ]


@cache
def imagenet_classes() -> ClassNames:
    """The classes of ImageNet-1k: lemmas and WordNet id of each."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return ClassNames(
        [
            (*info.index_to_description(index).split(", "), info.index_to_label_name(index))
            for index in range(info.num_classes())
        ]
    )


def classes_of(outputs: int, class_names: Sequence[str] | None) -> ClassNames:
    """The classes of a network with so many outputs: those given, or ImageNet-1k's where there are 1000.

    Raises UserError for another number of names than outputs, and where there are no names.
    """
    if class_names is not None:
        if len(class_names) != outputs:
            raise UserError(
                f"{len(class_names)} class names for {outputs} outputs", allowed="one name for each output, in order"
            )
        return ClassNames([(name,) for name in class_names])
    if outputs != IMAGENET:
        raise UserError(
            f"a network of {outputs} classes without their names",
            allowed=f"{IMAGENET} classes, those of ImageNet-1k",
            fix="give class_names=[...], in the order of the outputs",
        )
    return imagenet_classes()


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
