"""Two methods that ignore the image: random maps, and the most frequent class everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ca_seg.vocabulary import Vocabulary

GRID = 16  # rows and columns of the random maps: the number of tokens of the shipped backbone


@dataclass(frozen=True)
class RandomMaps:
    """Uniform noise per class, from the image's seed. It is a predictor and also its own prediction."""

    seeds: tuple[int, ...] = ()
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """There are none."""
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
    """The class of the vocabulary that covers most pixels of the dataset, predicted everywhere.

    Args:
        pixels: ground truth pixels of the whole dataset by class name
        batch: images in the prediction
    """

    pixels: Mapping[str, int]
    batch: int = 1
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """There are none."""
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
        winner = max(vocabulary.classes, key=lambda name: self.pixels.get(name, 0))
        values = torch.zeros(self.batch, len(vocabulary.classes), 1, 1)
        values[:, vocabulary.classes.index(winner)] = 1.0
        return values
