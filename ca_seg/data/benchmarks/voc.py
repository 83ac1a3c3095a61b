"""PASCAL VOC 2012: palette masks, 255 is void. Two readings, and the ConceptAttention paper's subsets of val.

voc20          the background is not scored       voc21    the background is class 0

train, val (default), trainval     as the release lists them
multi-class                        all of val (1,449)
single-class                       those of val whose mask has exactly one class beside background and void

No list of single-class images was published, so it is counted from the masks: once a process, in memory, and nothing
is written. The paper has 930 of them. Its code counts classes after shrinking the mask to 224 x 224, which loses small
objects, so that our number may differ by some.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.read import read_mask

HOW_TO_GET = "VOCtrainval_11-May-2012.tar of the PASCAL VOC challenge, unpacked: VOCdevkit/VOC2012/JPEGImages and so on"
COUNTS: dict[str, int] = {"train": 1464, "val": 1449, "trainval": 2913}
PARTS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
SINGLE, MULTI = "single-class", "multi-class"


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, ("VOCdevkit/VOC2012", "VOC2012"), PARTS, HOW_TO_GET)
    lists = folder / "ImageSets" / "Segmentation"
    known = [*(file.stem for file in lists.glob("*.txt")), SINGLE, MULTI]
    source = "val" if split in (SINGLE, MULTI) else split
    names = listed(lists / f"{source}.txt", split, known)
    check_count(len(names), COUNTS.get(source), f"{name}, {source}")
    pairs = pairs_of(names, folder / "JPEGImages", ".jpg", folder / "SegmentationClass", ".png")
    if split == SINGLE:
        alone = _single_class(tuple(pair.mask for pair in pairs))
        pairs = [pair for pair in pairs if pair.mask in alone]
    return SegmentationDataset(folder, split, class_list(name), pairs)


@cache
def _single_class(masks: tuple[Path, ...]) -> frozenset[Path]:
    """The masks with one class beside 0 (background) and 255 (void)."""
    return frozenset(mask for mask in masks if np.setdiff1d(read_mask(mask), (0, 255)).size == 1)
