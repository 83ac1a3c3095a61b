"""Oxford-IIIT Pet: an animal against its background, from the trimaps; their border (3) is void."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset

HOW_TO_GET = "images.tar.gz and annotations.tar.gz of the Oxford-IIIT Pet dataset, unpacked side by side"
COUNTS: dict[str, int] = {"trainval": 3680, "test": 3669}


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "test"
    folder = release(root, ("oxford-iiit-pet",), ("images", "annotations/trimaps"), HOW_TO_GET)
    lists = folder / "annotations"
    names = listed(lists / f"{split}.txt", split, ("trainval", "test"))
    pairs = pairs_of(names, folder / "images", ".jpg", lists / "trimaps", ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)
