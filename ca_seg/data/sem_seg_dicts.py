"""detectron2's semantic segmentation dicts as a JSON list, with a class list beside it.

DIR/dataset.json     [{"file_name": "images/a.jpg", "sem_seg_file_name": "masks/a.png", "height": 480, "width": 640}]
DIR/classes.json     {"ignore": [255], "classes": {"0": "cat", ...}}                   (DIR/SPLIT.json for a split)
"""

from __future__ import annotations

from pathlib import Path

from ca_seg.data.classes import read_classes, read_json
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.errors import BadDataset

HOW = "DIR/dataset.json (or DIR/SPLIT.json), a list of detectron2's dicts, and DIR/classes.json"


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    if root is None:
        raise BadDataset("the dataset 'sem-seg-dicts' needs a folder", fix=f"give its root; {HOW}")
    folder = Path(root)
    file = folder / f"{split or 'dataset'}.json"
    content = read_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise BadDataset(f"{file} is not a list of dicts", fix=HOW)
    pairs = [_pair(folder, file, entry) for entry in content]
    if len({pair.stem for pair in pairs}) != len(pairs):
        raise BadDataset(f"{file} has two pictures of one name", fix="rename one of them")
    return SegmentationDataset(folder, split, read_classes(folder / "classes.json"), pairs)


def _pair(folder: Path, file: Path, entry: dict) -> Pair:
    paths = []
    for key in ("file_name", "sem_seg_file_name"):
        if not isinstance(entry.get(key), str):
            raise BadDataset(f"{file} has an entry without {key!r}", fix=HOW)
        path = folder / entry[key]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadDataset(f"{file} names {entry[key]!r}", allowed=f"files inside {folder}")
        if not path.is_file():
            raise BadDataset(f"{path} is missing", fix=f"{file} names it")
        paths.append(path)
    return Pair(paths[0].stem, *paths)


ENTRIES = (DatasetEntry("sem-seg-dicts", "detectron2's sem_seg dicts as JSON", HOW, _open),)
