"""CamVid in the release that came with SegNet: 11 classes, 11 is void.

train/0001TP_006690.png      trainannot/0001TP_006690.png
"""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UnknownName

HOW_TO_GET = "the folder CamVid of the SegNet tutorial's repository: train, trainannot, val, valannot, test, testannot"
COUNTS: dict[str, int] = {"train": 367, "val": 101, "test": 233}


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "test"
    if split not in COUNTS:
        raise UnknownName("split", split, COUNTS)
    folder = release(root, ("CamVid", "camvid"), (split, f"{split}annot"), HOW_TO_GET)
    names = sorted(file.stem for file in (folder / split).glob("*.png"))
    pairs = pairs_of(names, folder / split, ".png", folder / f"{split}annot", ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)
