"""PASCAL VOC 2012: palette masks, 255 is void. Two readings, and the paper's subset.

voc20   the background is not scored        voc21   the background is class 0
split   train, val (default), trainval, and single-class: those of val whose mask has one class only (the paper's 930)
"""

from __future__ import annotations

import numpy as np

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.read import read_mask

HOW = "VOCtrainval_11-May-2012.tar of the PASCAL VOC challenge, unpacked: VOCdevkit/VOC2012/JPEGImages and so on"
COUNTS: dict[str, int] = {"train": 1464, "val": 1449, "trainval": 2913, "single-class": 930}
PARTS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
SINGLE = "single-class"


def _open(name: str, root: str | None, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, name, ("VOCdevkit/VOC2012", "VOC2012"), PARTS, HOW)
    lists = folder / "ImageSets" / "Segmentation"
    known = [*(file.stem for file in lists.glob("*.txt")), SINGLE]
    source = "val" if split == SINGLE else split
    names = listed(lists / f"{source}.txt", split, known)
    pairs = pairs_of(names, folder / "JPEGImages", ".jpg", folder / "SegmentationClass", ".png")
    if split == SINGLE:
        pairs = [pair for pair in pairs if _classes(read_mask(pair.mask)) == 1]
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)


def _classes(ids: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(ids.reshape(-1), minlength=256)[1:255]))


ENTRIES = tuple(
    DatasetEntry(name, f"PASCAL VOC 2012, {what}", HOW, lambda root, split, name=name: _open(name, root, split), name)
    for name, what in (("voc20", "20 classes without background"), ("voc21", "20 classes and the background"))
)
