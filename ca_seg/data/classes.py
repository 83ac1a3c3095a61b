"""The classes of a dataset: how the numbers in its mask files become class indices, and back.

id in the file     0      7      151    anything else
class index        255    0      1      an error
                   void
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ca_seg.errors import BadDataset, BadMask
from ca_seg.vocabulary import IGNORE_INDEX

MAX_CLASSES = 254  # indices 0..253 and the void fit an 8-bit mask
MAX_ID = 65535  # a 16-bit mask
KINDS = ("object", "stuff")
EXAMPLE = 'an example: {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}'


@dataclass(frozen=True)
class ClassList:
    """K classes in the order of their indices 0..K-1.

    Args:
        names: of the K classes
        ids: the number of each class in the mask files, 0..65535
        ignore: numbers in the mask files that are void: they are never scored
        kinds: "object" or "stuff" for each class; empty where the dataset does not say
        source: where the dataset comes from
        licence: of the dataset

    Raises:
        BadDataset: for no class or more than 254, an empty name, a name or id that is given twice, an id outside
            0..65535, and an id that is both a class and ignored
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    ignore: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise BadDataset("the class list is empty", allowed=f"1 to {MAX_CLASSES} classes", fix=EXAMPLE)
        if len(self.names) > MAX_CLASSES:
            raise BadDataset(f"the class list has {len(self.names)} classes", allowed=f"1 to {MAX_CLASSES}")
        if len(self.names) != len(self.ids) or len(self.kinds) not in (0, len(self.names)):
            raise BadDataset(f"{len(self.names)} class names, {len(self.ids)} ids and {len(self.kinds)} kinds")
        if any(not name.strip() for name in self.names):
            raise BadDataset("a class has no name", fix="give every id in classes.json a word")
        for what, values in (("class name", self.names), ("id", self.ids + self.ignore)):
            repeated = [value for value, count in Counter(values).items() if count > 1]
            if repeated:
                raise BadDataset(f"the {what} {repeated[0]!r} is twice in the class list", fix="remove one of them")
        outside = [class_id for class_id in self.ids + self.ignore if not 0 <= class_id <= MAX_ID]
        if outside:
            raise BadDataset(f"the class list has id {outside[0]}", allowed=f"0 to {MAX_ID}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise BadDataset(f"a class is of kind {unknown[0]!r}", allowed=", ".join(KINDS))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _index_of_id(self) -> np.ndarray:
        table = np.full(MAX_ID + 1, -1, np.int64)
        table[list(self.ids)] = np.arange(len(self.ids))
        table[list(self.ignore)] = IGNORE_INDEX
        return table

    @cached_property
    def _id_of_index(self) -> np.ndarray:
        table = np.full(256, -1, np.int64)
        table[: len(self.ids)] = self.ids
        if self.ignore:
            table[IGNORE_INDEX] = self.ignore[0]
        return table

    def to_index(self, mask: np.ndarray) -> np.ndarray:
        """Ids as in a mask file to class indices. Ids are looked up in a table, so that none is mapped twice.

        Args:
            mask: integers of any type and shape

        Returns:
            int64 of the same shape, void = 255

        Raises:
            BadMask: for an id that the class list does not have
        """
        return _look_up(
            self._index_of_id,
            mask,
            "the mask has label",
            allowed=f"the ids in classes.json ({_ranges(self.ids)}) and its ignored ids ({_ranges(self.ignore)})",
            fix='add it to "classes", or to "ignore" if its pixels are not to be scored',
        )

    def to_ids(self, indices: np.ndarray) -> np.ndarray:
        """Class indices to ids as in a mask file: the inverse of `to_index`. Void (255) becomes the first ignored id.

        Args:
            indices: integers of any type and shape

        Returns:
            uint8, or uint16 where the ids need it

        Raises:
            BadMask: for an index outside 0..K-1, and for void where the dataset ignores no id
        """
        ids = _look_up(
            self._id_of_index,
            indices,
            "the prediction has class index",
            allowed=f"0 to {len(self) - 1}" + (f", {IGNORE_INDEX} (void)" if self.ignore else ""),
            fix="" if self.ignore else 'to write void pixels, give the class list an id to "ignore"',
        )
        return ids.astype(np.uint8 if max(self.ids + self.ignore) <= 255 else np.uint16)


UNLABELLED = ClassList(("unlabelled",), (0,), (IGNORE_INDEX,))  # of images that name no classes


def _look_up(table: np.ndarray, labels: np.ndarray, what: str, *, allowed: str, fix: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise BadMask(f"labels of type {labels.dtype}", allowed="integers")
    outside = (labels < 0) | (labels >= len(table))
    values = table[np.where(outside, 0, labels)]
    wrong = labels[outside | (values < 0)]
    if wrong.size:
        raise BadMask(f"{what} {wrong.flat[0]} ({wrong.size} pixels)", allowed=allowed, fix=fix)
    return values


def _ranges(ids: tuple[int, ...]) -> str:
    """Numbers as text, with ranges: 1-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs) or "none"
