"""A few images of every class: the small training sets of few-shot experiments."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadMask, OutOfRange, UnreadableImage
from ca_seg.vocabulary import IGNORE_INDEX


def few_shot(dataset: SegmentationDataset, shots: int, seed: int) -> list[int]:
    """Choose images in which every class is shown at least `shots` times.

    Images are visited in a random order. An image is chosen when it shows a class that still lacks images, so it may
    count for several classes. A class with fewer images than `shots` gets all of them. Every mask is read; a mask that
    cannot be read is skipped.

    Args:
        dataset: to choose from
        shots: images of each class
        seed: of the order

    Returns:
        indices of the chosen images, rising

    Raises:
        OutOfRange: for shots below 1
    """
    if shots < 1:
        raise OutOfRange(f"{shots} images of each class", allowed="1 or more, or none")
    order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
    counts: Counter[int] = Counter()
    chosen = []
    for index in order:
        try:
            classes = np.unique(dataset.class_list.to_index(dataset.read_ids(index))).tolist()
        except (UnreadableImage, BadMask):
            continue  # it is reported when it is read for training
        shown = [c for c in classes if c != IGNORE_INDEX]
        if any(counts[c] < shots for c in shown):
            chosen.append(index)
            counts.update(shown)
    return sorted(chosen)
