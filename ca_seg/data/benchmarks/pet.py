"""Oxford-IIIT Pet: an animal against its background, by the trimaps; their border (3) is void."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, listed, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry

HOW = "images.tar.gz and annotations.tar.gz of the Oxford-IIIT Pet dataset, unpacked side by side"
COUNTS: dict[str, int] = {"trainval": 3680, "test": 3669}


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    split = split or "test"
    folder = release(root, "pet", ("oxford-iiit-pet",), ("images", "annotations/trimaps"), HOW)
    lists = folder / "annotations"
    names = listed(lists / f"{split}.txt", split, ("trainval", "test"))
    pairs = pairs_of(names, folder / "images", ".jpg", lists / "trimaps", ".png")
    check_count(len(pairs), COUNTS.get(split), f"pet, {split}")
    return SegmentationDataset(folder, split, class_list("pet"), pairs)


ENTRIES = (DatasetEntry("pet", "Oxford-IIIT Pet, an animal and its background", HOW, _open, "pet"),)
