"""PASCAL Context: VOC 2010 images with masks of the 59 most frequent classes, as PNGs made by the usual tool."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry

HOW = (
    "VOCtrainval_03-May-2010.tar and trainval_merged.json, converted to VOC2010/SegmentationClassContext/*.png with "
    "VOC2010/ImageSets/SegmentationContext/val.txt (mmsegmentation's tool does it)"
)
COUNTS: dict[str, int] = {"train": 4996, "val": 5104}
PARTS = ("JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext")


def _open(name: str, root: str | None, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, name, ("VOCdevkit/VOC2010", "VOC2010"), PARTS, HOW)
    lists = folder / "ImageSets" / "SegmentationContext"
    names = listed(lists / f"{split}.txt", split, (file.stem for file in lists.glob("*.txt")))
    pairs = pairs_of(names, folder / "JPEGImages", ".jpg", folder / "SegmentationClassContext", ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)


ENTRIES = tuple(
    DatasetEntry(name, f"PASCAL Context, {what}", HOW, lambda root, split, name=name: _open(name, root, split), name)
    for name, what in (("pascal-context59", "59 classes"), ("pascal-context60", "59 classes and the background"))
)
