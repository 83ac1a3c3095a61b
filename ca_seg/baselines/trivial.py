"""Two methods that never look at an image: random maps, and the most frequent class everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ca_seg.vocabulary import Vocabulary

GRID = 16  # rows and columns of the random maps: as many as the shipped backbone has tokens


@dataclass(frozen=True)
class RandomMaps:
    """Uniform noise per class, from the image's seed. A predictor, and its own prediction."""

    seeds: tuple[int, ...] = ()
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """It has none."""
        return {}

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> RandomMaps:
        return replace(self, seeds=tuple(seeds))

    def select(self, image: int) -> RandomMaps:
        return replace(self, seeds=self.seeds[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        shape = (len(vocabulary.classes), GRID, GRID)
        return torch.stack([torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in self.seeds])


@dataclass(frozen=True)
class OneClass:
    """Everywhere the class of the vocabulary that covers most pixels of the whole dataset.

    `pixels` counts the ground truth's pixels by class name.
    """

    pixels: Mapping[str, int]
    batch: int = 1
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """It has none."""
        return {}

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> OneClass:
        return replace(self, batch=len(images))

    def select(self, image: int) -> OneClass:
        return replace(self, batch=1)

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        most = max(vocabulary.classes, key=lambda name: self.pixels.get(name, 0))
        values = torch.zeros(self.batch, len(vocabulary.classes), 1, 1)
        values[:, vocabulary.classes.index(most)] = 1.0
        return values
