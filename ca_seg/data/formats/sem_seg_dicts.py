"""detectron2's semantic segmentation dicts as a JSON list, with a class list beside it.

DIR/dataset.json     [{"file_name": "images/a.jpg", "sem_seg_file_name": "masks/a.png", "height": 480, "width": 640}]
DIR/classes.json     {"ignore": [255], "classes": {"0": "cat", ...}}                   (DIR/SPLIT.json for a split)

An image_id is the image's path, without suffix, in the folder that holds all of them. Where no dict has a
"sem_seg_file_name" the images are to be labelled: masks are void throughout, and classes.json may be missing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ca_seg.data.classes import UNLABELLED, ClassList
from ca_seg.data.classes_json import read_classes, read_json
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
from ca_seg.data.formats.without_masks import ImagesWithoutMasks
from ca_seg.data.image_files import lies_within
from ca_seg.errors import BadDataset, BadMask

HOW_TO_GET = "DIR/dataset.json (or DIR/SPLIT.json), a list of detectron2's dicts, and DIR/classes.json"


class SemSegDicts(SegmentationDataset):
    """Images with masks that must have the height and width of their dicts, where these have one.

    Args:
        root: the folder of the dataset
        split: the part that this is, or None
        classes: of the masks
        pairs: the files
        sizes: height and width that the dict of each pair has; None: not checked
    """

    def __init__(
        self, root: Path, split: str | None, classes: ClassList, pairs: Sequence[ImageMaskPair], sizes: Sequence[tuple]
    ) -> None:
        self._sizes = {pair.image_id: size for pair, size in zip(pairs, sizes, strict=True)}
        super().__init__(root, split, classes, pairs)

    def read_ids(self, index: int) -> np.ndarray:
        ids, pair = super().read_ids(index), self._pairs[index]
        for length, expected, what in zip(ids.shape, self._sizes[pair.image_id], ("height", "width"), strict=True):
            if expected is not None and expected != length:
                raise BadMask(f"{pair.mask_path} has {what} {length}, its dict has {expected!r}", allowed="the same")
        return ids


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    folder = Path(root)
    file = folder / f"{split or 'dataset'}.json"
    content = read_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise BadDataset(f"{file} is not a list of dicts", fix=HOW_TO_GET)
    with_masks = any("sem_seg_file_name" in entry for entry in content)
    files = [_files(folder, file, entry, with_masks) for entry in content]
    common = Path(os.path.commonpath([image.parent for image, _ in files])) if files else folder
    pairs = [ImageMaskPair(image.relative_to(common).with_suffix("").as_posix(), image, mask) for image, mask in files]
    if len({pair.image_id for pair in pairs}) != len(pairs):
        raise BadDataset(f"{file} has two images of one name", fix="rename one of them")
    classes = folder / "classes.json"
    if not with_masks:
        return ImagesWithoutMasks(common, split, read_classes(classes) if classes.exists() else UNLABELLED, pairs)
    sizes = [(entry.get("height"), entry.get("width")) for entry in content]
    return SemSegDicts(folder, split, read_classes(classes), pairs, sizes)


def _files(folder: Path, file: Path, entry: dict, with_masks: bool) -> tuple[Path, Path]:
    """The image and its mask, or the image twice where there are no masks."""
    paths = []
    for key in ("file_name", "sem_seg_file_name") if with_masks else ("file_name",):
        if not isinstance(entry.get(key), str):
            raise BadDataset(f"{file} has an entry without {key!r}", fix=HOW_TO_GET)
        path = folder / entry[key]
        if ".." in path.parts or not lies_within(path, folder):
            raise BadDataset(f"{file} names {entry[key]!r}", allowed=f"files inside {folder}")
        if not os.path.isfile(path):
            raise BadDataset(f"{path} is missing", fix=f"{file} names it")
        paths.append(path)
    return paths[0], paths[-1]
