"""What colour alone tells: k-means on the pixels of each picture, every cluster named by the truth it mostly covers.

picture ──► k-means on (L, a, b) ──► clusters ──► the offered class that most of a cluster's true pixels are

The naming looks at the truth, so no method that only sees colour can do better with as many clusters: a bound, not a
method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from skimage.color import rgb2lab

from ca_seg.vocabulary import Vocabulary

CLUSTERS = 8
SAMPLE = 4096  # pixels that the clusters are fitted on


@dataclass(frozen=True)
class ColourClusters:
    """`truth(picture's number in the batch)` gives the class names' indices [H, W] of a picture just recorded."""

    classes: tuple[str, ...]
    labels: tuple[np.ndarray, ...] = ()  # clusters [H, W]
    truths: tuple[np.ndarray, ...] = ()  # class indices [H, W], 255 void

    def record(
        self, images: torch.Tensor, *, seed: Sequence[int], truths: Callable[[int], np.ndarray]
    ) -> ColourClusters:
        labels = tuple(_clusters(image, s) for image, s in zip(images, seed, strict=True))
        return replace(self, labels=labels, truths=tuple(truths(i) for i in range(len(images))))

    def select(self, picture: int) -> ColourClusters:
        return replace(self, labels=(self.labels[picture],), truths=(self.truths[picture],))

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """[B, K, H, W] of 0 and 1."""
        offered = [self.classes.index(name) for name in vocabulary.classes]
        made = []
        for labels, truth in zip(self.labels, self.truths, strict=True):
            counts = np.zeros((CLUSTERS, 256), np.int64)
            np.add.at(counts, (labels.reshape(-1), truth.reshape(-1)), 1)
            name = counts[:, offered].argmax(axis=1)
            made.append(torch.from_numpy(name[labels]))
        return torch.nn.functional.one_hot(torch.stack(made), len(offered)).movedim(-1, 1).float()


def _clusters(image: torch.Tensor, seed: int) -> np.ndarray:
    colours = rgb2lab(image.movedim(0, -1).cpu().double().numpy())
    pixels = colours.reshape(-1, 3)
    rng = np.random.default_rng(seed)
    sample = pixels[rng.choice(len(pixels), min(SAMPLE, len(pixels)), replace=False)]
    centres, _ = kmeans2(sample + 1e-3 * rng.standard_normal(sample.shape), CLUSTERS, minit="++", seed=rng)
    distance = ((pixels[:, None] - centres[None]) ** 2).sum(axis=2)
    return distance.argmin(axis=1).reshape(colours.shape[:2])
