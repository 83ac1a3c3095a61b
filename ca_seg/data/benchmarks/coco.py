"""COCO 2017 with the masks of COCO-Stuff, in two readings.

coco-stuff     171 classes: 80 things and 91 stuffs        coco-object    80 things; everything else is background
images/val2017/000000000139.jpg                            stuffthingmaps/val2017/000000000139.png

The masks' zip has val2017/ at its top: unpack it into stuffthingmaps/, or into annotations/ as COCO-Stuff's own guide
does. The images may also lie in val2017/.
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
PLACES = ("coco", "coco_stuff164k")
MAPS = ("stuffthingmaps", "annotations")
THINGS = 90  # numbers below it are things


class CocoObject(SegmentationDataset):
    """The things by rank (1..80); stuff becomes the background, 0."""

    def read_ids(self, index: int) -> np.ndarray:
        numbers = super().read_ids(index)
        found = _rank_of_thing()[numbers]
        if (found < 0).any():
            raise BadMask(f"{self.mask_path(index)} has number {numbers[found < 0][0]}", allowed="those of COCO-Stuff")
        return found


@cache
def _rank_of_thing() -> np.ndarray:
    ids = class_list("coco-stuff").ids
    table = np.full(65536, -1, np.int64)
    table[list(ids)] = [0 if number >= THINGS else rank for rank, number in enumerate(ids, 1)]
    table[IGNORE_INDEX] = IGNORE_INDEX
    return table


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val2017"
    maps = _maps(root)
    folder = release(root, PLACES, (maps,), HOW_TO_GET)
    images = folder / "images" / split
    images = images if images.is_dir() else folder / split
    known = sorted(part.name for part in (folder / maps).iterdir() if part.is_dir())
    if split not in known:
        raise UnknownName("split", split, known)
    names = sorted(file.stem for file in images.glob("*.jpg"))
    pairs = pairs_of(names, images, ".jpg", folder / maps / split, ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    kind = CocoObject if name == "coco-object" else SegmentationDataset
    return kind(folder, split, class_list(name), pairs)


def _maps(root: str) -> str:
    """The folder of masks; COCO's own annotations/ has no folder in it."""
    for maps in MAPS:
        if any(part.is_dir() for place in ("", *PLACES) for part in (Path(root) / place / maps).glob("*2017")):
            return maps
    return MAPS[0]
