"""Two methods that never look: random maps, and the most frequent class everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ca_seg.vocabulary import Vocabulary

GRID = 16  # as many rows and columns of noise as the shipped backbone has tokens


@dataclass(frozen=True)
class RandomMaps:
    """Uniform noise per class, from the picture's seed. Stands in for a backbone and for its recording."""

    seeds: tuple[int, ...] = ()

    def record(self, images: torch.Tensor, *, seed: Sequence[int]) -> RandomMaps:
        return replace(self, seeds=tuple(seed))

    def select(self, picture: int) -> RandomMaps:
        return replace(self, seeds=self.seeds[picture : picture + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        shape = (len(vocabulary.classes), GRID, GRID)
        return torch.stack([torch.rand(shape, generator=torch.Generator().manual_seed(s)) for s in self.seeds])


@dataclass(frozen=True)
class OneClass:
    """The offered class that covers most pixels of the whole dataset (counted on its truth), everywhere."""

    pixels: Mapping[str, int]
    batch: int = 1

    def record(self, images: torch.Tensor, *, seed: Sequence[int]) -> OneClass:
        return replace(self, batch=len(images))

    def select(self, picture: int) -> OneClass:
        return replace(self, batch=1)

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        most = max(vocabulary.classes, key=lambda name: self.pixels.get(name, 0))
        values = torch.zeros(self.batch, len(vocabulary.classes), 1, 1)
        values[:, vocabulary.classes.index(most)] = 1.0
        return values
