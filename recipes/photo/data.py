"""Training examples from the feature cache: features in memory as 8 bits, and what is known of each picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ca_seg.errors import UserError
from recipes.photo import labels
from recipes.photo.detectors import Box
from recipes.photo.sources import SOURCES
from recipes.photo.teach import NOT_SHOWN
from recipes.photo.words import Lexicon, with_wider


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
    boxes: tuple[Box, ...] = ()  # of the detectors


class FeatureCache:
    """The cached features and masks, memory-mapped, and the examples in them."""

    def __init__(self, cache: Path, lexicon: Lexicon, *, teachers: bool) -> None:
        folder = cache / "features"
        records = sorted(folder.glob("[0-9]*.json"))
        if not records:
            raise UserError(f"{folder} has no features", fix="run recipes.photo.pack, then recipes.photo.cache")
        self.fine = [np.load(file.with_suffix(".fine.npy"), mmap_mode="r") for file in records]
        self.coarse = [np.load(file.with_suffix(".coarse.npy"), mmap_mode="r") for file in records]
        self.teachers, self.lexicon = teachers, lexicon
        self.sources = {source.name: source for source in SOURCES}
        self.votes: list[np.ndarray | None] = []
        self.examples = []
        for shard, file in enumerate(records):
            said = _read_labels(cache / "labels" / file.name) if teachers else None
            self.votes.append(
                None if said is None else np.stack([labels.votes(*row) for row in zip(*said, strict=True)])
            )
            for row, record in enumerate(json.loads(file.read_text())):
                masks, boxes = (None, ()) if said is None else (said[0][row], said[1][row])
                self.examples += self._examples(shard, row, record, masks, boxes)

    def _examples(
        self, shard: int, row: int, record: dict, masks: np.ndarray | None, boxes: tuple[Box, ...]
    ) -> list[Example]:
        source = self.sources[record["source"]]
        names = [self.lexicon.word(source.word(path)) for path in record["paths"]]
        if len(names) > 1:
            return [Example(shard, row, k, w, with_wider({w} - {""}), False, False) for k, w in enumerate(names)]
        said = self.lexicon.said(record["words"][0]) if source.captions else set()
        if source.tags[0]:
            said = self.lexicon.tagged(record["words"][0])
        tagged = masks is not None and source.natural
        tags = labels.words(masks, boxes) if tagged else frozenset()
        words = with_wider((said | tags | set(names)) - {""})
        return [Example(shard, row, -1, names[0], words, tagged, record["held_back"], boxes)]

    def features(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 features of whole pictures: [B, 112, 20, 20] and [B, 320, 10, 10]."""
        fine = np.stack([self.fine[e.shard][e.row] for e in examples])
        coarse = np.stack([self.coarse[e.shard][e.row] for e in examples])
        return torch.from_numpy(fine), torch.from_numpy(coarse)

    def teacher_votes(self, examples: Sequence[Example]) -> np.ndarray:
        """[B, 2, 64, 64] uint8: indices in TEACHER_WORDS, or UNKNOWN. The examples must be tagged."""
        return np.stack([self.votes[e.shard][e.row] for e in examples])  # type: ignore[index]

    def teacher_masks(self, examples: Sequence[Example]) -> torch.Tensor:
        """[B, 64, 64] long: what the teachers agree on."""
        return torch.from_numpy(np.stack([labels.agreed(both) for both in self.teacher_votes(examples)])).long()


def _votes(masks: np.ndarray, boxes: Sequence[Sequence[Box]]) -> np.ndarray:
    """The votes of a shard's pictures [N, 2, 64, 64]; UNKNOWN for those that the teachers were not shown."""
    votes = np.full((len(masks), *labels.VOTES), labels.UNKNOWN, np.uint8)
    for row, mask in enumerate(masks):
        if mask.min() != NOT_SHOWN:
            votes[row] = labels.votes(mask, boxes[row])
    return votes


def _read_labels(file: Path) -> tuple[np.ndarray, list[tuple[Box, ...]]] | None:
    """The masks and boxes of a shard; None where the teachers were not asked."""
    if not file.exists():
        return None
    boxes = [tuple(Box(**box) for box in of_picture) for of_picture in json.loads(file.read_text())]
    return np.load(file.with_suffix(".npz"))["masks"], boxes
