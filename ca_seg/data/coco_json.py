"""One's own pictures with one COCO annotation file: polygons and run lengths, compressed or not.

DIR/images/*.jpg      DIR/annotations.json        (or DIR/SPLIT.json for a split)

Where annotations overlap the smaller one is on top, for small things stand in front of large ones more often than not.
Crowds are void. Pixels without annotation are void too, unless a category is called "background".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from ca_seg.data.classes import IGNORE_INDEX, ClassList, read_json
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.errors import BadDataset, BadMask

HOW = "DIR/images/ and DIR/annotations.json in the COCO format (or DIR/SPLIT.json)"
KEYS = ("images", "annotations", "categories")


class CocoJson(SegmentationDataset):
    """Class indices follow the category ids in rising order."""

    def __init__(self, root: Path, file: Path, split: str | None) -> None:
        content = read_json(file)
        if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
            raise BadDataset(f"{file} is not a COCO file", allowed=f"lists {', '.join(KEYS)}")
        self._coco = COCO()
        self._coco.dataset = content
        self._coco.createIndex()
        categories = dict(sorted((c["id"], str(c["name"])) for c in content["categories"]))
        self._number = {category: rank for rank, category in enumerate(categories)}
        names = tuple(categories.values())
        self._empty = names.index("background") if "background" in names else IGNORE_INDEX
        classes = ClassList(names, tuple(range(len(names))), (IGNORE_INDEX,), source=str(file))
        pictures = sorted(content["images"], key=lambda picture: picture["file_name"])
        self._ids = {Path(picture["file_name"]).stem: picture["id"] for picture in pictures}
        if len(self._ids) != len(pictures):
            raise BadDataset(f"{file} has two pictures of one name", fix="rename one of them")
        pairs = [self._pair(root / "images", picture["file_name"], file) for picture in pictures]
        super().__init__(root, split, classes, pairs)

    def read_ids(self, index: int) -> np.ndarray:
        pair = self._pairs[index]
        picture = self._coco.imgs[self._ids[pair.stem]]
        ids = np.full((picture["height"], picture["width"]), self._empty, np.int64)
        found = self._coco.imgToAnns[picture["id"]]
        try:
            masks = [(coco_masks.decode(self._coco.annToRLE(one)).astype(bool), one) for one in found]
        except (KeyError, TypeError, ValueError, IndexError) as problem:
            raise BadMask(f"{pair.mask}: an annotation of {pair.image.name} cannot be read ({problem})") from problem
        for mask, one in sorted(masks, key=lambda item: -int(item[0].sum())):
            if one["category_id"] not in self._number:
                raise BadMask(f"{pair.mask}: {pair.image.name} has category {one['category_id']}, which is not listed")
            ids[mask] = IGNORE_INDEX if one.get("iscrowd") else self._number[one["category_id"]]
        return ids

    def _pair(self, images: Path, name: str, file: Path) -> Pair:
        image = images / name
        if not image.resolve().is_relative_to(images.resolve()):
            raise BadDataset(f"{file} names {name!r}", allowed=f"pictures inside {images}")
        if not image.is_file():
            raise BadDataset(f"{image} is missing", fix=f"{file} names it")
        return Pair(image.stem, image, file)


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    if root is None:
        raise BadDataset("the dataset 'coco-json' needs a folder", fix=f"give its root; {HOW}")
    file = Path(root) / f"{split or 'annotations'}.json"
    if not file.is_file():
        raise BadDataset(f"{file} is missing", fix=HOW)
    return CocoJson(Path(root), file, split)


ENTRIES = (DatasetEntry("coco-json", "your own pictures with a COCO annotation file", HOW, _open),)
