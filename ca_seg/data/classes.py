"""The classes of a dataset: how the numbers in its mask files become class indices, and back.

classes.json       {"ignore": [0], "classes": {"7": "cat", "151": "grass"}}

id in the file     0      7      151    anything else
class index        255    0      1      an error
                   void
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.errors import BadDataset, BadMask
from ca_seg.vocabulary import IGNORE_INDEX

MOST_CLASSES = 254  # indices 0..253 and the void fit an 8-bit mask
HIGHEST_ID = 65535  # a 16-bit mask
KINDS = ("object", "stuff")
KEYS = ("classes", "ignore", "kinds", "source", "licence")
EXAMPLE = 'an example: {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}'


@dataclass(frozen=True)
class ClassList:
    """K classes in the order of their indices 0..K-1.

    Raises BadDataset for no class, more than 254, an empty name, a name or id that stands twice (scores could not be
    told apart), an id outside 0..65535, an id that is both a class and ignored.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]  # in the mask files
    ignore: tuple[int, ...] = ()  # ids in the mask files that are void: never scored
    kinds: tuple[str, ...] = ()  # "object" or "stuff" for each class, or empty when the dataset does not say
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise BadDataset("the class list is empty", allowed=f"1 to {MOST_CLASSES} classes", fix=EXAMPLE)
        if len(self.names) > MOST_CLASSES:
            raise BadDataset(f"the class list has {len(self.names)} classes", allowed=f"1 to {MOST_CLASSES}")
        if len(self.names) != len(self.ids) or len(self.kinds) not in (0, len(self.names)):
            raise BadDataset(f"{len(self.names)} class names, {len(self.ids)} ids and {len(self.kinds)} kinds")
        if any(not name.strip() for name in self.names):
            raise BadDataset("a class has no name", fix="give every id in classes.json a word")
        for what, values in (("class name", self.names), ("id", self.ids + self.ignore)):
            twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
            if twice:
                raise BadDataset(f"the {what} {twice[0]!r} stands twice in the class list", fix="remove one of them")
        outside = [number for number in self.ids + self.ignore if not 0 <= number <= HIGHEST_ID]
        if outside:
            raise BadDataset(f"the class list has id {outside[0]}", allowed=f"0 to {HIGHEST_ID}")
        strange = [kind for kind in self.kinds if kind not in KINDS]
        if strange:
            raise BadDataset(f"a class is of kind {strange[0]!r}", allowed=", ".join(KINDS))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _index_of_id(self) -> np.ndarray:
        table = np.full(HIGHEST_ID + 1, -1, np.int64)
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
        """Ids as in a mask file (any integers) to class indices int64, same shape, void = 255.

        Looked up in a table and never replaced in place, so no id is mapped twice. Raises BadMask for an id that the
        class list does not have.
        """
        return _look_up(
            self._index_of_id,
            mask,
            "the mask has label",
            allowed=f"the ids in classes.json ({_ranges(self.ids)}) and its ignored ids ({_ranges(self.ignore)})",
            fix='add it to "classes", or to "ignore" if its pixels shall not be scored',
        )

    def to_ids(self, indices: np.ndarray) -> np.ndarray:
        """Class indices to ids as in a mask file: uint8, or uint16 when the ids need it. The inverse of `to_index`.

        Void (255) becomes the first ignored id. Raises BadMask for an index outside 0..K-1, and for void when the
        dataset ignores no id.
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


def read_classes(path: Path) -> ClassList:
    """The class list in a classes.json. Indices follow the ids in rising order, whatever the order in the file.

    Raises BadDataset, naming the file, when it is missing, is not JSON, has an unknown key (a misspelt "ignore" would
    otherwise score the void), or describes no valid class list.
    """
    content = read_json(path)
    try:
        return parse_classes(content)
    except BadDataset as error:
        raise BadDataset(f"{path}: {error.what}", allowed=error.allowed, fix=error.fix) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file in which no key stands twice; BadDataset otherwise."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_doubles)
    except FileNotFoundError as error:
        raise BadDataset(f"{path} is missing", fix=EXAMPLE if path.name == "classes.json" else "") from error
    except BadDataset as error:
        raise BadDataset(f"{path}: {error.what}", fix=error.fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadDataset(f"{path} is not readable JSON ({error})") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise BadDataset(f"the key {twice[0]!r} stands twice", fix="JSON would keep only the last; remove one of them")
    return dict(pairs)


def parse_classes(content: Any) -> ClassList:
    """The class list in the content of a classes.json. Raises BadDataset for what is none."""
    if not isinstance(content, dict) or not isinstance(content.get("classes"), dict):
        raise BadDataset('there is no "classes" with ids and names', fix=EXAMPLE)
    strange = [key for key in content if key not in KEYS]
    if strange:
        raise BadDataset(f"unknown key {strange[0]!r}", allowed=", ".join(KEYS), fix=EXAMPLE)
    classes: dict[int, Any] = {_number(key): name for key, name in content["classes"].items()}
    if len(classes) != len(content["classes"]):
        raise BadDataset('two keys in "classes" are the same id', fix='write ids without leading zeros: "7"')
    if any(not isinstance(name, str) for name in classes.values()):
        raise BadDataset("a class name is not a word", fix=EXAMPLE)
    ids = tuple(sorted(classes))
    ignore = content.get("ignore", [])
    if not isinstance(ignore, list) or any(type(number) is not int for number in ignore):
        raise BadDataset(f'"ignore" is {ignore!r}', allowed="a list of ids, such as [0, 255]")
    about = {key: content.get(key, "") for key in ("source", "licence")}
    if any(not isinstance(text, str) for text in about.values()):
        raise BadDataset('"source" and "licence" must be text')
    names = tuple(classes[number].strip() for number in ids)
    return ClassList(names, ids, tuple(ignore), _kinds(content.get("kinds", {}), ids), **about)


def _kinds(kinds: Any, ids: tuple[int, ...]) -> tuple[str, ...]:
    if not isinstance(kinds, Mapping) or any(not isinstance(kind, str) for kind in kinds.values()):
        raise BadDataset('"kinds" is not a table of ids and kinds', fix='an example: {"1": "object", "2": "stuff"}')
    by_id = {_number(key): kind for key, kind in kinds.items()}
    if by_id and set(by_id) != set(ids):
        odd = min(set(by_id) ^ set(ids))
        raise BadDataset(f'id {odd} is not in both "classes" and "kinds"', fix="give a kind to every class, or to none")
    return tuple(by_id[number] for number in ids) if by_id else ()


def _number(key: str) -> int:
    if not (key.isascii() and key.isdigit()) or len(key) > 5:
        raise BadDataset(f"the id {key!r} is not a number", allowed=f"0 to {HIGHEST_ID}", fix=EXAMPLE)
    return int(key)


def _look_up(table: np.ndarray, labels: np.ndarray, what: str, *, allowed: str, fix: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise BadMask(f"labels of type {labels.dtype}", allowed="integers")
    outside = (labels < 0) | (labels >= len(table))
    found = table[np.where(outside, 0, labels)]
    wrong = labels[outside | (found < 0)]
    if wrong.size:
        raise BadMask(f"{what} {wrong.flat[0]} ({wrong.size} pixels)", allowed=allowed, fix=fix)
    return found


def _ranges(ids: tuple[int, ...]) -> str:
    """Numbers as people write them: 1-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs) or "none"
