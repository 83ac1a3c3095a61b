"""PASCAL Context: VOC 2010 images with masks of the 59 most frequent classes, converted to PNG by mmsegmentation."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset

HOW_TO_GET = (
    "VOCtrainval_03-May-2010.tar and trainval_merged.json, converted to VOC2010/SegmentationClassContext/*.png with "
    "VOC2010/ImageSets/SegmentationContext/val.txt (mmsegmentation's tool does it)"
)
COUNTS: dict[str, int] = {"train": 4996, "val": 5104}
PARTS = ("JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext")


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, ("VOCdevkit/VOC2010", "VOC2010"), PARTS, HOW_TO_GET)
    lists = folder / "ImageSets" / "SegmentationContext"
    names = listed(lists / f"{split}.txt", split, (file.stem for file in lists.glob("*.txt")))
    pairs = pairs_of(names, folder / "JPEGImages", ".jpg", folder / "SegmentationClassContext", ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)
