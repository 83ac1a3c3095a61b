"""DAVIS frames as single images: any object against the rest. (For clips, scored by J and F: `data/video/davis.py`.)

JPEGImages/480p/bear/00000.jpg    Annotations/480p/bear/00000.png    ImageSets/2017/val.txt    image_id bear_00000
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ca_seg.data.benchmarks.official import class_list, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.video.davis import DavisVideo
from ca_seg.vocabulary import IGNORE_INDEX

HOW_TO_GET = "DAVIS-2017-trainval-480p.zip, unpacked: JPEGImages/480p, Annotations/480p, ImageSets/2017"
PARTS = ("JPEGImages/480p", "Annotations/480p", "ImageSets")


class DavisFrames(SegmentationDataset):
    """All objects as one class."""

    def read_ids(self, index: int) -> np.ndarray:
        object_ids = super().read_ids(index)
        return np.where(object_ids == IGNORE_INDEX, IGNORE_INDEX, (object_ids > 0).astype(np.int64))


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, ("DAVIS",), PARTS, HOW_TO_GET)
    pairs = []
    for clip in DavisVideo(folder, 2017, split).names:
        images, masks = (folder / part / clip for part in PARTS[:2])
        frames = sorted(file.stem for file in images.glob("*.jpg"))
        pairs += [
            replace(pair, image_id=f"{clip}_{pair.image_id}")
            for pair in pairs_of(frames, images, ".jpg", masks, ".png")
        ]
    return DavisFrames(folder, split, class_list(name), pairs)
