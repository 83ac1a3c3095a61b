"""The folder format: how the shipped scenes lie on disk, and how anyone's own images can.

DIR/images/<stem>.png or .jpg ...     the images
DIR/masks/<stem>.png                  one per image, same size: 8- or 16-bit ids, gray or palette
DIR/classes.json                      {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}
DIR/splits.json                       optional: {"val": ["stem", ...], "test": [...]}
"""

from __future__ import annotations

import os
from pathlib import Path

from ca_seg.data.classes import read_classes
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.image_files import IMAGE_SUFFIXES
from ca_seg.data.splits import read_split
from ca_seg.errors import BadDataset

HOW_TO_GET = "a dataset folder has images/, masks/ and classes.json; every image has masks/<same name>.png"


class FolderDataset(SegmentationDataset):
    """Images with masks from a folder, in the order of their stems (or of the split).

    The layout is checked here, before a long run: the parts are there, every image has a mask and every mask a
    image, and the first pair that can be read fits. Files whose name begins with a dot, and files in images/ that are
    no images, are left alone.

    Raises BadDataset for a wrong layout, UnknownName for an unknown `split`.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        root = Path(root)
        if not root.is_dir():
            raise BadDataset(f"there is no dataset folder {root}", fix=HOW_TO_GET)
        for part in ("images", "masks"):
            if not (root / part).is_dir():
                raise BadDataset(f"{root} has no folder {part}", fix=HOW_TO_GET)
        class_list = read_classes(root / "classes.json")
        images = _by_stem(root / "images", IMAGE_SUFFIXES)
        _check_pairs(root, images, _by_stem(root / "masks", (".png",)))
        image_ids = sorted(images) if split is None else read_split(root / "splits.json", split, images)
        pairs = [
            Pair(image_id, root / "images" / images[image_id], root / "masks" / f"{image_id}.png")
            for image_id in image_ids
        ]
        super().__init__(root, split, class_list, pairs)


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, str]:
    """File names by stem. Raises BadDataset when two files have one stem."""
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            image_id, ending = os.path.splitext(entry.name)
            if entry.name.startswith(".") or ending.lower() not in endings:
                continue
            if image_id in found:
                one, two = sorted((found[image_id], entry.name))
                raise BadDataset(f"{folder} has both {one} and {two}", fix="keep one of them")
            found[image_id] = entry.name
    return found


def _check_pairs(root: Path, images: dict[str, str], masks: dict[str, str]) -> None:
    if not images:
        raise BadDataset(f"{root / 'images'} has no image", allowed=f"one or more of {', '.join(IMAGE_SUFFIXES)}")
    for image_id in sorted(images):
        if masks.get(image_id) != f"{image_id}.png":
            raise BadDataset(f"{root / 'images' / images[image_id]} has no mask", fix=f"add masks/{image_id}.png")
    lonely = sorted(set(masks) - set(images))
    if lonely:
        image_id = lonely[0]
        raise BadDataset(f"{root / 'masks' / masks[image_id]} has no image", fix=f"add images/{image_id}.png or .jpg")


def open_dataset(name: str, root: str, split: str | None) -> FolderDataset:
    return FolderDataset(root, split)
