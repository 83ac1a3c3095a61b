"""MSRC-21, version 2, as id masks: images/*.jpg, masks/*.png, classes.json with "void", and a list for each split."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import listed, pairs_of, release
from ca_seg.data.classes_json import parse_classes, read_json
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadDataset

HOW_TO_GET = (
    'images/*.jpg, masks/*.png of ids, classes.json = {"void": 0, "classes": {"1": "building", ...}}, train.txt ...'
)


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    folder = release(root, ("msrc21",), ("images", "masks", "classes.json"), HOW_TO_GET)
    file = folder / "classes.json"
    content = read_json(file)
    if not isinstance(content, dict) or set(content) != {"void", "classes"}:
        raise BadDataset(f"{file} is not that of MSRC-21", allowed='the keys "void" and "classes"', fix=HOW_TO_GET)
    try:
        classes = parse_classes({"ignore": [content["void"]], "classes": content["classes"]})
    except BadDataset as error:
        raise BadDataset(f"{file}: {error.what}", allowed=error.allowed, fix=HOW_TO_GET) from error
    if split is None:
        names = sorted(image.stem for image in (folder / "images").glob("*.jpg"))
    else:
        names = listed(folder / f"{split}.txt", split, (list_file.stem for list_file in folder.glob("*.txt")))
        names = [name.removesuffix(".jpg") for name in names]
    pairs = pairs_of(names, folder / "images", ".jpg", folder / "masks", ".png")
    return SegmentationDataset(folder, split, classes, pairs)
