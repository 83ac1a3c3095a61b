"""One's own images with one COCO annotation file: polygons and run lengths, compressed or not.

DIR/images/*.jpg, also in sub-folders      DIR/annotations.json        (or DIR/SPLIT.json for a split)

Where annotations overlap the smaller one is on top, for small things stand in front of large ones more often than not;
of two equally large ones the later. Crowds are void. Pixels without annotation are void too, unless a category is
called "background": then they are that.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ca_seg.data.classes import ClassList, read_json
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.errors import BadDataset, BadMask
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import IGNORE_INDEX

HOW_TO_GET = "DIR/images/ and DIR/annotations.json in the COCO format (or DIR/SPLIT.json)"
FIELDS: dict[str, dict[str, type]] = {  # what is needed of each entry
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int},
}


class CocoJson(SegmentationDataset):
    """Class indices follow the category ids in rising order, images their names.

    The links of the whole file are checked on opening, the shape of an annotation when its image is read.
    """

    def __init__(self, root: Path, file: Path, split: str | None) -> None:
        content = read_json(file)
        _check(file, content)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self._rank = {category["id"]: rank for rank, category in enumerate(categories)}
        names = tuple(category["name"] for category in categories)
        self._empty = names.index("background") if "background" in names else IGNORE_INDEX
        classes = ClassList(names, tuple(range(len(names))), (IGNORE_INDEX,), source=str(file))
        images = sorted(content["images"], key=lambda image: image["file_name"])
        pairs = [_pair(root / "images", image["file_name"], file) for image in images]
        self._shapes = {p.image_id: (one["height"], one["width"]) for p, one in zip(pairs, images, strict=True)}
        if len(self._shapes) != len(pairs):
            raise BadDataset(f"{file} has two images of one name", fix="rename one of them")
        image_ids = {image["id"]: pair.image_id for pair, image in zip(pairs, images, strict=True)}
        self._drawn: dict[str, list[dict[str, Any]]] = {}
        for one in content["annotations"]:
            for key, known in (("image_id", image_ids), ("category_id", self._rank)):
                if one[key] not in known:
                    raise BadDataset(f"{file} has an annotation with {key} {one[key]}, which is not listed")
            self._drawn.setdefault(image_ids[one["image_id"]], []).append(one)
        super().__init__(root, split, classes, pairs)

    def read_ids(self, index: int) -> np.ndarray:
        pair = self._pairs[index]
        shape = self._shapes[pair.image_id]
        ids = np.full(shape, self._empty, np.int64)
        drawn = self._drawn.get(pair.image_id, [])
        try:
            with optional_imports("the masks of a COCO file"):
                masks = [_pixels(one.get("segmentation"), *shape) for one in drawn]
        except (TypeError, ValueError) as problem:
            raise BadMask(f"{pair.mask}: an annotation of {pair.image_id} cannot be read ({problem})") from problem
        for number in sorted(range(len(drawn)), key=lambda number: -int(masks[number].sum())):
            crowd = drawn[number].get("iscrowd")
            ids[masks[number]] = IGNORE_INDEX if crowd else self._rank[drawn[number]["category_id"]]
        return ids


def _check(file: Path, content: Any) -> None:
    """The parts and their types, and that no image and no category has another's id."""
    if not isinstance(content, dict) or any(not isinstance(content.get(part), list) for part in FIELDS):
        raise BadDataset(f"{file} is not a COCO file", allowed=f"lists {', '.join(FIELDS)}")
    for part, fields in FIELDS.items():
        for one in content[part]:
            wrong = [key for key, kind in fields.items() if not isinstance(one, dict) or type(one.get(key)) is not kind]
            if wrong:
                missing = f"{fields[wrong[0]].__name__} {wrong[0]!r}"
                raise BadDataset(f"{file}: one of {part} has no {missing}", fix=HOW_TO_GET)
        ids = [one["id"] for one in content[part]] if "id" in fields else []
        if len(set(ids)) != len(ids):
            raise BadDataset(f"{file} has two {part} of one id", fix="give each its own")


def _pair(images: Path, name: str, file: Path) -> Pair:
    image = images / name
    if ".." in PurePosixPath(name).parts or not image.resolve().is_relative_to(images.resolve()):
        raise BadDataset(f"{file} names {name!r}", allowed=f"images inside {images}")
    if not image.is_file():
        raise BadDataset(f"{image} is missing", fix=f"{file} names it")
    return Pair(image.relative_to(images).with_suffix("").as_posix(), image, file)


def _pixels(segmentation: Any, height: int, width: int) -> np.ndarray:
    """bool [height, width] of one annotation. Raises ValueError or TypeError for what is no shape."""
    from pycocotools import mask as coco_masks  # only here: it comes with an extra

    if isinstance(segmentation, list):
        if not segmentation or any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
            raise ValueError("a polygon is a list of x, y, x, y ... of three corners or more")
        polygons = [[float(value) for value in polygon] for polygon in segmentation]
        runs = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, dict) and list(segmentation.get("size", ())) == [height, width]:
        counts = segmentation.get("counts")
        counts = _lengths(counts) if isinstance(counts, str) else counts
        if not isinstance(counts, list) or any(type(run) is not int or run < 0 for run in counts):
            raise ValueError("its run lengths are no counts")
        if sum(counts) != height * width:
            raise ValueError(f"its run lengths add up to {sum(counts)} pixels, not to {height} x {width}")
        runs = coco_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    else:
        raise ValueError(f"its segmentation is no polygons, and no run lengths of size {height} x {width}")
    return coco_masks.decode(runs).astype(bool)


def _lengths(text: str) -> list[int]:
    """Compressed run lengths to plain ones: pycocotools gives random pixels for a damaged text, so it is read here.

    Five bits a letter from "0" on, 32 means that more follow, 16 of the last that it is negative; from the fourth run
    on, the difference to the run before the last (cocoapi, maskApi.c).
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
        raise ValueError("its run lengths break off")
    return runs


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    file = Path(root) / f"{split or 'annotations'}.json"
    if not file.is_file():
        raise BadDataset(f"{file} is missing", fix=HOW_TO_GET)
    return CocoJson(Path(root), file, split)
