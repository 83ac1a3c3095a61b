"""A few images of every class: the small labelled sets that a few-shot setting trains on."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadMask, OutOfRange, UnreadableImage
from ca_seg.vocabulary import IGNORE_INDEX


def few_shot(dataset: SegmentationDataset, shots: int, seed: int) -> list[int]:
    """Indices, rising, of images in which every class of the dataset is seen at least `shots` times.

    Images come in a random order that follows from `seed`, and one is taken when it shows a class that still lacks
    images, so an image may count for several classes. A class with fewer images than `shots` has all of them.
    A pair whose mask cannot be read is left out. Every mask is read.
    Raises OutOfRange for shots below 1.
    """
    if shots < 1:
        raise OutOfRange(f"{shots} images of each class", allowed="1 or more, or none")
    order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
    seen: Counter[int] = Counter()
    taken = []
    for index in order:
        try:
            classes = np.unique(dataset.class_list.to_index(dataset.read_ids(index))).tolist()
        except (UnreadableImage, BadMask):
            continue  # it is reported when a whole dataset is read
        shown = [c for c in classes if c != IGNORE_INDEX]
        if any(seen[c] < shots for c in shown):
            taken.append(index)
            seen.update(shown)
    return sorted(taken)
