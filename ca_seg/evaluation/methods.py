"""What can stand in a row of the results table, by name.

mini, flux1-schnell ...     a backbone of the zoo, at its card's settings
random-weights              the evaluated backbone's architecture with fresh weights
random-maps, one-class      never look at the picture
colour-clusters             k-means on colours, each cluster named by the truth: a bound of what colour tells
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.card import card_names
from ca_seg.backbones.reading import Reading
from ca_seg.baselines.colour_clusters import ColourClusters
from ca_seg.baselines.trivial import OneClass, RandomMaps
from ca_seg.data.collate import Skipped, SkipUnreadable
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UnknownName
from ca_seg.tasks.zero_shot import Record

RANDOM_WEIGHTS, RANDOM_MAPS, ONE_CLASS, COLOUR = "random-weights", "random-maps", "one-class", "colour-clusters"
TRIVIAL = (RANDOM_WEIGHTS, RANDOM_MAPS, ONE_CLASS, COLOUR)


def check_methods(names: Sequence[str]) -> None:
    """Raises UnknownName for a name that is neither a backbone nor a trivial method."""
    for name in names:
        if name not in (*card_names(), *TRIVIAL):
            raise UnknownName("method", name, (*card_names(), *TRIVIAL))


def of_backbone(backbone: Backbone, reading: Reading) -> Record:
    """Record with a backbone."""
    return lambda images, seeds: reading.record(backbone, images, seeds)


def trivial(name: str, pixels: Callable[[], dict[str, int]]) -> Record:
    """Record with a method that never looks; `pixels` counts the dataset's classes when it is needed."""
    method = RandomMaps() if name == RANDOM_MAPS else OneClass(pixels())
    return lambda images, seeds: method.record(images, seed=seeds)


def colour_bound(classes: tuple[str, ...]) -> Record:
    """Record with clusters of colour that the truth names."""
    method = ColourClusters(classes)

    def record(images: torch.Tensor, seeds: Sequence[int], truths: Callable[[int], np.ndarray]) -> ColourClusters:
        return method.record(images, seed=seeds, truths=truths)

    record.sees_truth = True  # type: ignore[attr-defined]
    return record


def class_pixels(dataset: SegmentationDataset) -> dict[str, int]:
    """How many pixels of the whole dataset each class has; pictures that cannot be read do not count."""
    total = torch.zeros(256, dtype=torch.int64)
    readable = SkipUnreadable(dataset)
    for index in range(len(dataset)):
        item = readable[index]
        if not isinstance(item, Skipped):
            total += torch.bincount(item["mask"].flatten(), minlength=256)
    return dict(zip(dataset.class_list.names, total.tolist(), strict=False))
