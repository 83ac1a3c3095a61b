"""DAVIS frames as single pictures: any object against the rest. (Clips, with J and F: `davis_video.py`.)"""

from __future__ import annotations

import numpy as np

from ca_seg.data.classes import IGNORE_INDEX
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.davis_video import DavisVideo
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.official import class_list, release

HOW = "DAVIS-2017-trainval-480p.zip, unpacked: JPEGImages/480p, Annotations/480p, ImageSets/2017"
PARTS = ("JPEGImages/480p", "Annotations/480p", "ImageSets")


class DavisFrames(SegmentationDataset):
    """All objects as one class."""

    def read_ids(self, index: int) -> np.ndarray:
        numbers = super().read_ids(index)
        return np.where(numbers == IGNORE_INDEX, IGNORE_INDEX, (numbers > 0).astype(np.int64))


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, "davis", ("DAVIS",), PARTS, HOW)
    clips = DavisVideo(folder, 2017, split)
    pairs = [
        Pair(f"{clip.name}_{frame.stem}", frame, mask)
        for clip in (clips[i] for i in range(len(clips)))
        for frame, mask in zip(clip.frame_paths, clip.mask_paths, strict=True)
        if mask is not None
    ]
    return DavisFrames(folder, split, class_list("davis"), pairs)


ENTRIES = (DatasetEntry("davis", "DAVIS 2017 frames, objects and the rest", HOW, _open, "davis"),)
