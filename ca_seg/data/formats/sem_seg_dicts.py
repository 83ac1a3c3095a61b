"""detectron2's semantic segmentation dicts as a JSON list, with a class list beside it.

DIR/dataset.json     [{"file_name": "images/a.jpg", "sem_seg_file_name": "masks/a.png", "height": 480, "width": 640}]
DIR/classes.json     {"ignore": [255], "classes": {"0": "cat", ...}}                   (DIR/SPLIT.json for a split)

A stem is the image's path in the folder that holds all of them, without its ending. Where no dict has a
"sem_seg_file_name" the images are to be labelled: masks are void throughout, and classes.json may be missing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ca_seg.data.classes import UNLABELLED, ClassList, read_classes, read_json
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.formats.unmasked import Unmasked
from ca_seg.errors import BadDataset, BadMask

HOW_TO_GET = "DIR/dataset.json (or DIR/SPLIT.json), a list of detectron2's dicts, and DIR/classes.json"


class SemSegDicts(SegmentationDataset):
    """A mask must have the height and width that its dict states; null or no entry states none."""

    def __init__(
        self, root: Path, split: str | None, classes: ClassList, pairs: Sequence[Pair], shapes: Sequence[tuple]
    ) -> None:
        self._shapes = {pair.image_id: shape for pair, shape in zip(pairs, shapes, strict=True)}
        super().__init__(root, split, classes, pairs)

    def read_ids(self, index: int) -> np.ndarray:
        ids, pair = super().read_ids(index), self._pairs[index]
        for length, said, what in zip(ids.shape, self._shapes[pair.image_id], ("height", "width"), strict=True):
            if said is not None and said != length:
                raise BadMask(f"{pair.mask} has {what} {length}, its dict says {said!r}", allowed="the same")
        return ids


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    folder = Path(root)
    file = folder / f"{split or 'dataset'}.json"
    content = read_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise BadDataset(f"{file} is not a list of dicts", fix=HOW_TO_GET)
    masked = any("sem_seg_file_name" in entry for entry in content)
    files = [_files(folder, file, entry, masked) for entry in content]
    together = Path(os.path.commonpath([image.parent for image, _ in files])) if files else folder
    pairs = [Pair(image.relative_to(together).with_suffix("").as_posix(), image, mask) for image, mask in files]
    if len({pair.image_id for pair in pairs}) != len(pairs):
        raise BadDataset(f"{file} has two images of one name", fix="rename one of them")
    listed = folder / "classes.json"
    if not masked:
        return Unmasked(together, split, read_classes(listed) if listed.exists() else UNLABELLED, pairs)
    shapes = [(entry.get("height"), entry.get("width")) for entry in content]
    return SemSegDicts(folder, split, read_classes(listed), pairs, shapes)


def _files(folder: Path, file: Path, entry: dict, masked: bool) -> tuple[Path, Path]:
    """The image and its mask; without masks the image twice."""
    paths = []
    for key in ("file_name", "sem_seg_file_name") if masked else ("file_name",):
        if not isinstance(entry.get(key), str):
            raise BadDataset(f"{file} has an entry without {key!r}", fix=HOW_TO_GET)
        path = folder / entry[key]
        if ".." in path.parts or not path.resolve().is_relative_to(folder.resolve()):
            raise BadDataset(f"{file} names {entry[key]!r}", allowed=f"files inside {folder}")
        if not path.is_file():
            raise BadDataset(f"{path} is missing", fix=f"{file} names it")
        paths.append(path)
    return paths[0], paths[-1]
