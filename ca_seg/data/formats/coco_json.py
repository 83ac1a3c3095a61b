"""A user's own images with one COCO annotation file: polygons and run lengths, compressed or not.

DIR/images/*.jpg, also in sub-folders      DIR/annotations.json        (or DIR/SPLIT.json for a split)

Where annotations overlap, the smaller one is on top, because small things are usually in front of large ones; of two of
the same size the later one is on top. Crowds are void. Pixels without annotation are void too, unless there is a
category "background" (in any case): then they are background. {"unannotated": "ignore"} in "info", as the label format
coco writes it, makes them void beside such a category too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ca_seg.data.classes import ClassList
from ca_seg.data.classes_json import read_json
from ca_seg.data.dataset import MASKS_ARE_READ, ImageMaskPair, SegmentationDataset, check_mask_size
from ca_seg.data.image_files import lies_within
from ca_seg.errors import BadDataset, BadMask
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import IGNORE_INDEX, is_background

FARTHEST = 100_000  # pixels of a polygon's corner from that of the image
HOW_TO_GET = "DIR/images/ and DIR/annotations.json in the COCO format (or DIR/SPLIT.json)"
FIELDS: dict[str, dict[str, type]] = {  # the required fields of each entry
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int},
}


class CocoJson(SegmentationDataset):
    """A dataset in COCO's format. Classes are in the order of the category ids, images in that of their names.

    Ids that refer to each other are checked on opening, the shape of an annotation when its image is read.

    Args:
        root: the folder that has images/
        file: the annotations
        split: the part that this is, or None

    Raises:
        BadDataset: for a file that is not in COCO's format, an image that is missing, and an id that is not listed
    """

    def __init__(self, root: Path, file: Path, split: str | None) -> None:
        content = read_json(file)
        if not MASKS_ARE_READ.get() and isinstance(content, dict):
            content = content | {"annotations": []}
        _check(file, content)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self._index = {category["id"]: index for index, category in enumerate(categories)}
        names = tuple(category["name"] for category in categories)
        self._unannotated = _unannotated(content.get("info"), names)
        classes = ClassList(names, tuple(range(len(names))), (IGNORE_INDEX,), source=str(file))
        images = sorted(content["images"], key=lambda image: image["file_name"])
        pairs = [_pair(root / "images", image["file_name"], file) for image in images]
        self._sizes = {p.image_id: (entry["height"], entry["width"]) for p, entry in zip(pairs, images, strict=True)}
        if len(self._sizes) != len(pairs):
            raise BadDataset(f"{file} has two images of one name", fix="rename one of them")
        image_ids = {image["id"]: pair.image_id for pair, image in zip(pairs, images, strict=True)}
        self._annotations: dict[str, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            for key, known in (("image_id", image_ids), ("category_id", self._index)):
                if annotation[key] not in known:
                    raise BadDataset(f"{file} has an annotation with {key} {annotation[key]}, which is not listed")
            self._annotations.setdefault(image_ids[annotation["image_id"]], []).append(annotation)
        super().__init__(root, split, classes, pairs)

    def read_ids(self, index: int) -> np.ndarray:
        pair = self._pairs[index]
        size = self._sizes[pair.image_id]
        check_mask_size(pair.mask_path, size, self.size(index))  # before an array of that size is made
        ids = np.full(size, self._unannotated, np.int64)
        annotations = self._annotations.get(pair.image_id, [])
        try:
            with optional_imports("the masks of a COCO file"):
                masks = [_pixels(annotation.get("segmentation"), *size) for annotation in annotations]
        except (TypeError, ValueError, OverflowError) as problem:
            raise BadMask(f"{pair.mask_path}: an annotation of {pair.image_id} cannot be read ({problem})") from problem
        for i in sorted(range(len(annotations)), key=lambda i: -int(masks[i].sum())):  # the smallest last, on top
            crowd = annotations[i].get("iscrowd")
            ids[masks[i]] = IGNORE_INDEX if crowd else self._index[annotations[i]["category_id"]]
        return ids


def _check(file: Path, content: Any) -> None:
    """Raises BadDataset for a part that is missing, a field of the wrong type, and an id that is used twice."""
    if not isinstance(content, dict) or any(not isinstance(content.get(part), list) for part in FIELDS):
        raise BadDataset(f"{file} is not a COCO file", allowed=f"lists {', '.join(FIELDS)}")
    for part, fields in FIELDS.items():
        for entry in content[part]:
            wrong = [
                key for key, kind in fields.items() if not isinstance(entry, dict) or type(entry.get(key)) is not kind
            ]
            if wrong:
                missing = f"{fields[wrong[0]].__name__} {wrong[0]!r}"
                raise BadDataset(f"{file}: one of {part} has no {missing}", fix=HOW_TO_GET)
        ids = [entry["id"] for entry in content[part]] if "id" in fields else []
        if len(set(ids)) != len(ids):
            raise BadDataset(f"{file} has two {part} of one id", fix="give each an id of its own")


def _unannotated(info: Any, names: Sequence[str]) -> int:
    """The class of pixels without annotation: the background; void where there is none, or where `info` says so."""
    if isinstance(info, dict) and info.get("unannotated") == "ignore":
        return IGNORE_INDEX
    return next((index for index, name in enumerate(names) if is_background(name)), IGNORE_INDEX)


def _pair(images: Path, name: str, file: Path) -> ImageMaskPair:
    image = images / name
    if ".." in PurePosixPath(name).parts or not lies_within(image, images):
        raise BadDataset(f"{file} names {name!r}", allowed=f"images inside {images}")
    if not os.path.isfile(image):
        raise BadDataset(f"{image} is missing", fix=f"{file} names it")
    return ImageMaskPair(image.relative_to(images).with_suffix("").as_posix(), image, file)


def _pixels(segmentation: Any, height: int, width: int) -> np.ndarray:
    """bool [height, width] of one annotation. Raises ValueError or TypeError for a segmentation that is not valid."""
    from pycocotools import mask as coco_masks  # only here: it comes with an extra

    if isinstance(segmentation, list):
        if not segmentation or any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
            raise ValueError("a polygon is a list of x, y, x, y ... of three corners or more")
        polygons = [[float(value) for value in polygon] for polygon in segmentation]
        if not all(abs(value) <= FARTHEST for polygon in polygons for value in polygon):  # pycocotools would crash
            raise ValueError(f"a polygon has a corner beyond {FARTHEST:,} pixels")
        runs = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, dict) and list(segmentation.get("size", ())) == [height, width]:
        counts = segmentation.get("counts")
        counts = _lengths(counts) if isinstance(counts, str) else counts
        if not isinstance(counts, list) or any(type(run) is not int or run < 0 for run in counts):
            raise ValueError("its run lengths are not counts")
        if sum(counts) != height * width:
            raise ValueError(f"its run lengths add up to {sum(counts)} pixels, not to {height} x {width}")
        runs = coco_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    else:
        raise ValueError(f"its segmentation is neither polygons nor run lengths of size {height} x {width}")
    return coco_masks.decode(runs).astype(bool)


def _lengths(text: str) -> list[int]:
    """Compressed run lengths to plain ones. (pycocotools gives random pixels for a damaged text, so it is read here.)

    A letter has five bits of a number, counted from "0"; a bit of 32 means that more letters follow, and a bit of 16
    in the last letter that the number is negative. From the fourth run on, the number is the difference to the run
    before the last (cocoapi, maskApi.c).
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its run lengths have the letter {letter!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths end too early")
    return runs


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    file = Path(root) / f"{split or 'annotations'}.json"
    if not os.path.isfile(file):
        raise BadDataset(f"{file} is missing", fix=HOW_TO_GET)
    return CocoJson(Path(root), file, split)
