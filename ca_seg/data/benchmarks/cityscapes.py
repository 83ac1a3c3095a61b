"""Cityscapes: the 19 evaluated classes by their label ids; every other id is void.

leftImg8bit/val/CITY/CITY_000000_000019_leftImg8bit.png      gtFine/val/CITY/CITY_000000_000019_gtFine_labelIds.png
"""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, release
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
from ca_seg.errors import BadDataset, UnknownName

HOW_TO_GET = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of Cityscapes, unpacked side by side"
COUNTS: dict[str, int] = {"train": 2975, "val": 500}
IMAGE, MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "val"
    folder = release(root, ("cityscapes",), ("leftImg8bit", "gtFine"), HOW_TO_GET)
    known = sorted(part.name for part in (folder / "leftImg8bit").iterdir() if part.is_dir())
    if split not in known:
        raise UnknownName("split", split, known)
    pairs = []
    for image in sorted((folder / "leftImg8bit" / split).glob(f"*/*{IMAGE}")):
        image_id = image.name.removesuffix(IMAGE)
        mask = folder / "gtFine" / split / image.parent.name / f"{image_id}{MASK}"
        if not mask.is_file():
            raise BadDataset(f"{mask} is missing", fix="unpack the release again: it is incomplete")
        pairs.append(ImageMaskPair(image_id, image, mask))
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)
