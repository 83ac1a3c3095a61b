"""PASCAL VOC 2012: palette masks, 255 is void. Two datasets, and the ConceptAttention paper's subsets of val.

voc20          the background is not scored       voc21    the background is class 0

train, val (default), trainval     as the release lists them
multi-class                        all of val (1,449)
single-class                       those of val whose mask has exactly one class beside background and void

No list of single-class images was published, so they are found by reading the masks, once per process. The paper has
930 of them. Its code counts classes after it has shrunk the mask to 224 x 224, which loses small objects, so our number
may differ a little.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.read import read_mask
from ca_seg.vocabulary import IGNORE_INDEX

HOW_TO_GET = "VOCtrainval_11-May-2012.tar of the PASCAL VOC challenge, unpacked: VOCdevkit/VOC2012/JPEGImages and so on"
COUNTS: dict[str, int] = {"train": 1464, "val": 1449, "trainval": 2913}
PARTS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
SINGLE_CLASS, MULTI_CLASS = "single-class", "multi-class"


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, ("VOCdevkit/VOC2012", "VOC2012"), PARTS, HOW_TO_GET)
    lists = folder / "ImageSets" / "Segmentation"
    known = [*(file.stem for file in lists.glob("*.txt")), SINGLE_CLASS, MULTI_CLASS]
    source = "val" if split in (SINGLE_CLASS, MULTI_CLASS) else split
    names = listed(lists / f"{source}.txt", split, known)
    check_count(len(names), COUNTS.get(source), f"{name}, {source}")
    pairs = pairs_of(names, folder / "JPEGImages", ".jpg", folder / "SegmentationClass", ".png")
    if split == SINGLE_CLASS:
        masks = _single_class(tuple(pair.mask_path for pair in pairs))
        pairs = [pair for pair in pairs if pair.mask_path in masks]
    return SegmentationDataset(folder, split, class_list(name), pairs)


@cache
def _single_class(masks: tuple[Path, ...]) -> frozenset[Path]:
    """The masks with one class beside 0 (background) and 255 (void)."""
    return frozenset(mask for mask in masks if np.setdiff1d(read_mask(mask), (0, IGNORE_INDEX)).size == 1)
