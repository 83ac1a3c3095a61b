"""COCO 2017 with the masks of COCO-Stuff, as two datasets.

coco-stuff     171 classes: 80 things and 91 stuffs        coco-object    80 things; everything else is background
images/val2017/000000000139.jpg                            stuffthingmaps/val2017/000000000139.png

The masks' zip has val2017/ at its top: unpack it into stuffthingmaps/, or into annotations/ as COCO-Stuff's guide says.
The images may also be in val2017/.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ca_seg.data.benchmarks.official import check_count, class_list, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadMask, UnknownName
from ca_seg.vocabulary import IGNORE_INDEX

HOW_TO_GET = (
    "val2017.zip of COCO and stuffthingmaps_trainval2017.zip of COCO-Stuff: images/val2017, stuffthingmaps/val2017"
)
COUNTS: dict[str, int] = {"train2017": 118287, "val2017": 5000}
FOLDERS = ("coco", "coco_stuff164k")
MASK_FOLDERS = ("stuffthingmaps", "annotations")
FIRST_STUFF_ID = 90  # smaller ids are things


class CocoObject(SegmentationDataset):
    """COCO's things as classes 1..80, in the order of their ids; stuff becomes the background, 0."""

    def read_ids(self, index: int) -> np.ndarray:
        ids = super().read_ids(index)
        ranks = _rank_of_id()[ids]
        if (ranks < 0).any():
            raise BadMask(f"{self.mask_path(index)} has id {ids[ranks < 0][0]}", allowed="the ids of COCO-Stuff")
        return ranks


@cache
def _rank_of_id() -> np.ndarray:
    """0 for stuff, 1..80 for things, 255 for void, -1 for an unknown id."""
    ids = class_list("coco-stuff").ids
    table = np.full(65536, -1, np.int64)
    table[list(ids)] = [0 if class_id >= FIRST_STUFF_ID else rank for rank, class_id in enumerate(ids, 1)]
    table[IGNORE_INDEX] = IGNORE_INDEX
    return table


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val2017"
    mask_folder = _mask_folder(root)
    folder = release(root, FOLDERS, (mask_folder,), HOW_TO_GET)
    images = folder / "images" / split
    images = images if images.is_dir() else folder / split
    known = sorted(part.name for part in (folder / mask_folder).iterdir() if part.is_dir())
    if split not in known:
        raise UnknownName("split", split, known)
    names = sorted(file.stem for file in images.glob("*.jpg"))
    pairs = pairs_of(names, images, ".jpg", folder / mask_folder / split, ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    kind = CocoObject if name == "coco-object" else SegmentationDataset
    return kind(folder, split, class_list(name), pairs)


def _mask_folder(root: str) -> str:
    """Which of MASK_FOLDERS has the masks. (COCO's annotations/ has no folder in it.)"""
    for name in MASK_FOLDERS:
        if any(part.is_dir() for folder in ("", *FOLDERS) for part in (Path(root) / folder / name).glob("*2017")):
            return name
    return MASK_FOLDERS[0]
