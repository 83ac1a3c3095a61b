"""Which images of a run are worth a look, in one pass over its manifest and memory for the chosen ones alone.

confidence  least mean confidence of the image; a pixel without a label counts as 0
class       for each class in turn those where it is least sure, so that rare classes come up too
area        smallest share of the image that a class has: specks are often mistakes
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from itertools import zip_longest

from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.entry import Entry

ORDERS = ("confidence", "class", "area")


class Worst:
    """The `count` entries of the lowest score; of two alike, the one of the lower key."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[float, _Backwards, Entry]] = []

    def add(self, score: float, entry: Entry) -> None:
        item = (-score, _Backwards(entry.key), entry)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, item)
        elif item[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, item)

    def entries(self) -> list[Entry]:
        """Lowest score first."""
        return [entry for _, _, entry in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


class Choice:
    """Entries are added one by one; `chosen` gives at most `count` of them, `sampled` a fair draw of `sample`.

    Raises UnknownName for an order that there is not.
    """

    def __init__(self, count: int, by: str, *, sample: int = 0, seed: int = 0) -> None:
        if by not in ORDERS:
            raise UnknownName("order", by, ORDERS)
        self.count, self.by = count, by
        self._worst: dict[str, Worst] = {}
        self._draw: list[Entry] = []
        self._sample, self._random, self._seen = sample, random.Random(seed), 0

    def add(self, entry: Entry) -> None:
        """Raises UserError for an entry without confidence."""
        self._seen += 1
        if len(self._draw) < self._sample:
            self._draw.append(entry)
        elif (place := self._random.randrange(self._seen)) < self._sample:
            self._draw[place] = entry
        for name, score in self._scores(entry):
            self._worst.setdefault(name, Worst(self.count)).add(score, entry)

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
        """The first first; no image twice."""
        columns = [worst.entries() for _, worst in sorted(self._worst.items())]
        turns = (entry for row in zip_longest(*columns) for entry in row if entry is not None)
        return list({entry.key: entry for entry in turns}.values())[: self.count]

    @property
    def sampled(self) -> list[Entry]:
        return self._draw


def image_confidence(entry: Entry) -> float:
    """The mean confidence over all pixels, those without a label counting as 0."""
    return sum(area * entry.confidence[name] for name, area in entry.area.items()) / (entry.height * entry.width)


class _Backwards(str):
    """Text that sorts from z to a."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)
