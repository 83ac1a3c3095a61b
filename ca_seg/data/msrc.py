"""MSRC-21, version 2, as id masks: images/*.jpg, masks/*.png, classes.json with "void", and a list for each split."""

from __future__ import annotations

from ca_seg.data.classes import ClassList, read_json
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.official import listed, pairs_of, release
from ca_seg.errors import BadDataset

HOW = 'images/*.jpg, masks/*.png of ids, classes.json = {"void": 0, "classes": {"1": "building", ...}}, train.txt ...'


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    folder = release(root, "msrc", ("msrc21",), ("images", "masks", "classes.json"), HOW)
    content = read_json(folder / "classes.json")
    if not isinstance(content, dict) or not isinstance(content.get("classes"), dict) or "void" not in content:
        raise BadDataset(f"{folder / 'classes.json'} is not that of MSRC-21", fix=HOW)
    classes = {int(number): name for number, name in content["classes"].items()}
    ids = tuple(sorted(classes))
    known = [file.stem for file in folder.glob("*.txt")]
    names = (
        sorted(file.stem for file in (folder / "images").glob("*.jpg"))
        if split is None
        else listed(folder / f"{split}.txt", split, known)
    )
    pairs = pairs_of([n.removesuffix(".jpg") for n in names], folder / "images", ".jpg", folder / "masks", ".png")
    return SegmentationDataset(folder, split, ClassList(tuple(classes[i] for i in ids), ids, (content["void"],)), pairs)


ENTRIES = (DatasetEntry("msrc", "MSRC-21, photographs of 23 classes", HOW, _open),)
