"""Which images of a run deserve a look, in one pass over its manifest; memory holds only those that are chosen.

confidence  the lowest mean confidence of the image; a pixel without a label counts as 0
class       for each class in turn the lowest confidence of that class, so that rare classes appear too
area        the smallest fraction of the image that a class covers: specks are often mistakes
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from itertools import zip_longest

from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.entry import Entry

ORDERS = ("confidence", "class", "area")


class LowestScores:
    """The `count` entries with the lowest scores; of equal scores, those with the lower keys."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[float, _ReversedText, Entry]] = []

    def add(self, score: float, entry: Entry) -> None:
        item = (-score, _ReversedText(entry.key), entry)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, item)
        elif item[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, item)

    def entries(self) -> list[Entry]:
        """From the lowest score up."""
        return [entry for _, _, entry in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


class Choice:
    """Chooses among entries that are added one by one.

    Args:
        count: how many `chosen` gives at most
        by: confidence, class or area
        sample: how many `sampled` gives at most: a uniform random sample (reservoir sampling, Vitter 1985)
        seed: of the sample

    Raises:
        UnknownName: for an order that does not exist
    """

    def __init__(self, count: int, by: str, *, sample: int = 0, seed: int = 0) -> None:
        if by not in ORDERS:
            raise UnknownName("order", by, ORDERS)
        self.count, self.by = count, by
        self._lowest: dict[str, LowestScores] = {}
        self._sampled: list[Entry] = []
        self._sample_size, self._random, self._seen = sample, random.Random(seed), 0

    def add(self, entry: Entry) -> None:
        """Consider an entry. Raises UserError for one without confidence."""
        self._seen += 1
        if len(self._sampled) < self._sample_size:
            self._sampled.append(entry)
        elif (index := self._random.randrange(self._seen)) < self._sample_size:
            self._sampled[index] = entry
        for name, score in self._scores(entry):
            self._lowest.setdefault(name, LowestScores(self.count)).add(score, entry)

    def _scores(self, entry: Entry) -> Iterable[tuple[str, float]]:
        if entry.area.keys() != entry.confidence.keys():
            raise UserError(f"{entry.key} was labelled without a confidence", fix="label again, with one")
        if self.by == "confidence":
            return [("", image_confidence(entry))]
        if self.by == "class":
            return entry.confidence.items()
        size = entry.height * entry.width
        return [("", min(entry.area.values()) / size)] if entry.area else []

    @property
    def chosen(self) -> list[Entry]:
        """In their order; no image twice."""
        columns = [lowest.entries() for _, lowest in sorted(self._lowest.items())]
        turns = (entry for row in zip_longest(*columns) for entry in row if entry is not None)
        return list({entry.key: entry for entry in turns}.values())[: self.count]

    @property
    def sampled(self) -> list[Entry]:
        """The random sample."""
        return self._sampled


def image_confidence(entry: Entry) -> float:
    """The mean confidence over all pixels; those without a label count as 0."""
    return sum(area * entry.confidence[name] for name, area in entry.area.items()) / (entry.height * entry.width)


class _ReversedText(str):
    """Text that sorts from z to a."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)
