"""Training examples from the feature cache: features in memory as 8 bits, and what is known of each picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ca_seg.errors import UserError
from recipes.photo.cache import NOT_SHOWN
from recipes.photo.segmenters import ADE, VOC
from recipes.photo.sources import SOURCES
from recipes.photo.words import Lexicon

SMALLEST = {0: 0.05, 1: 0.04}  # the share of a picture that a segmenter's class takes to be one of its words
TEACHER_WORDS = tuple(dict.fromkeys(word for file in (ADE, VOC) for word in file.words if word))
UNKNOWN = 255
_INDEX = {word: index for index, word in enumerate(TEACHER_WORDS)}
_TABLES = [np.array([_INDEX.get(w, UNKNOWN) for w in f.words] + [UNKNOWN] * (256 - len(f.words))) for f in (ADE, VOC)]
_THINGS = [_INDEX[word] for word in VOC.words if word]


@dataclass(frozen=True)
class Example:
    """One picture (or one quarter of four small ones): where its features are, and its words."""

    shard: int
    row: int
    quarter: int  # 0 to 3 for small pictures put together; -1 for a whole picture
    name: str  # the word that its source gives; "" if none
    words: frozenset[str]  # all words known to be true of it
    tagged: bool  # seen by the segmenters: then the frequent stuff that is not among the words is absent
    held_back: bool


class FeatureCache:
    """The cached features and masks, memory-mapped, and the examples in them."""

    def __init__(self, cache: Path, lexicon: Lexicon, *, teachers: bool) -> None:
        folder = cache / "features"
        records = sorted(folder.glob("[0-9]*.json"))
        if not records:
            raise UserError(f"{folder} has no features", fix="run recipes.photo.pack, then recipes.photo.cache")
        self.fine = [np.load(file.with_suffix(".fine.npy"), mmap_mode="r") for file in records]
        self.coarse = [np.load(file.with_suffix(".coarse.npy"), mmap_mode="r") for file in records]
        self.masks = [np.load(file.with_suffix(".masks.npy"), mmap_mode="r") for file in records]
        self.teachers, self.lexicon = teachers, lexicon
        self.sources = {source.name: source for source in SOURCES}
        self.examples = [
            example
            for shard, file in enumerate(records)
            for row, record in enumerate(json.loads(file.read_text()))
            for example in self._examples(shard, row, record)
        ]

    def _examples(self, shard: int, row: int, record: dict) -> list[Example]:
        source = self.sources[record["source"]]
        tags = self._tags(shard, row) if self.teachers and source.natural else frozenset()
        names = [self.lexicon.word(source.word(path)) for path in record["paths"]]
        if len(names) > 1:
            return [Example(shard, row, k, w, frozenset({w} - {""}), False, False) for k, w in enumerate(names)]
        said = self.lexicon.said(record["words"][0]) if source.captions else set()
        words = frozenset((said | tags | set(names)) - {""})
        tagged = self.teachers and source.natural
        return [Example(shard, row, -1, names[0], words, tagged, record["held_back"])]

    def _tags(self, shard: int, row: int) -> frozenset[str]:
        tags = set()
        for index, file in enumerate((ADE, VOC)):
            shares = (
                np.bincount(self.masks[shard][row, index].ravel(), minlength=256) / self.masks[shard][row, index].size
            )
            tags |= {w for k, w in enumerate(file.words) if w and shares[k] > SMALLEST[index]}
        return frozenset(tags)

    def features(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 features of whole pictures: [B, 112, 16, 16] and [B, 320, 8, 8]."""
        fine = np.stack([self.fine[e.shard][e.row] for e in examples])
        coarse = np.stack([self.coarse[e.shard][e.row] for e in examples])
        return torch.from_numpy(fine), torch.from_numpy(coarse)

    def teacher_masks(self, examples: Sequence[Example]) -> torch.Tensor:
        """[B, 64, 64] long: the index in TEACHER_WORDS, or UNKNOWN.

        Where VOC's segmenter sees a thing, it is that thing. Where it sees none, ADE20K's class counts, unless that is
        one of VOC's things.
        """
        masks = np.stack([self.masks[e.shard][e.row] for e in examples])
        ade, voc = (table[masks[:, index]] for index, table in enumerate(_TABLES))
        ade = np.where(np.isin(ade, _THINGS), UNKNOWN, ade)
        merged = np.where(voc != UNKNOWN, voc, ade)
        return torch.from_numpy(np.where(masks[:, 0] == NOT_SHOWN, UNKNOWN, merged)).long()
