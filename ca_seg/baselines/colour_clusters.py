"""An upper bound for colour alone: k-means on the colours of each image, clusters labelled by the ground truth.

image   ──► k-means on (L, a, b) ──► clusters ──► the offered class that most ground truth pixels of a cluster have

The labels come from the ground truth, so no method that sees only colour can do better with as many clusters. It is an
upper bound and not a method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from skimage.color import rgb2lab

from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary

CLUSTERS = 8
SAMPLE_PIXELS = 4096  # that the clusters are fitted on


@dataclass(frozen=True)
class ColourClusters:
    """A predictor that needs the ground truth; it is also its own prediction. `classes` are the dataset's."""

    classes: tuple[str, ...]
    clusters: tuple[np.ndarray, ...] = ()  # cluster of each pixel [H, W], one array per image
    ground_truths: tuple[np.ndarray, ...] = ()  # class indices [H, W], void is IGNORE_INDEX
    needs_ground_truth = True

    def settings(self) -> dict[str, Any]:
        """There are none."""
        return {}

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> ColourClusters:
        if ground_truth is None:
            raise ValueError("colour clusters need the ground truth")
        clusters = tuple(_clusters(image, seed) for image, seed in zip(images, seeds, strict=True))
        masks = tuple(ground_truth(i).cpu().numpy() for i in range(len(images)))
        return replace(self, clusters=clusters, ground_truths=masks)

    def select(self, image: int) -> ColourClusters:
        return replace(self, clusters=(self.clusters[image],), ground_truths=(self.ground_truths[image],))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """[B, K, H, W] of 0 and 1."""
        offered = [self.classes.index(name) for name in vocabulary.classes]
        masks = []
        for clusters, ground_truth in zip(self.clusters, self.ground_truths, strict=True):
            counts = np.zeros((CLUSTERS, IGNORE_INDEX + 1), np.int64)
            np.add.at(counts, (clusters.reshape(-1), ground_truth.reshape(-1)), 1)
            class_of_cluster = counts[:, offered].argmax(axis=1)
            masks.append(torch.from_numpy(class_of_cluster[clusters]))
        return torch.nn.functional.one_hot(torch.stack(masks), len(offered)).movedim(-1, 1).float()


def _clusters(image: torch.Tensor, seed: int) -> np.ndarray:
    colours = rgb2lab(image.movedim(0, -1).cpu().double().numpy())
    pixels = colours.reshape(-1, 3)
    rng = np.random.default_rng(seed)
    sample = pixels[rng.choice(len(pixels), min(SAMPLE_PIXELS, len(pixels)), replace=False)]
    centres, _ = kmeans2(sample + 1e-3 * rng.standard_normal(sample.shape), CLUSTERS, minit="++", seed=rng)
    distance = ((pixels[:, None] - centres[None]) ** 2).sum(axis=2)
    return distance.argmin(axis=1).reshape(colours.shape[:2])
