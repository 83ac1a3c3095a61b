"""The folder format: the layout of the shipped datasets, and the usual one for a user's own images and masks.

DIR/images/0001.png or .jpg ...       the images; the name without suffix is the image_id
DIR/masks/0001.png                    one per image, same size: 8- or 16-bit ids, gray or palette
DIR/classes.json                      {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}
DIR/splits.json                       optional: {"val": ["0001", ...], "test": [...]}
"""

from __future__ import annotations

import os
from pathlib import Path

from ca_seg.data.classes_json import read_classes
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
from ca_seg.data.image_files import IMAGE_SUFFIXES
from ca_seg.data.splits import read_split
from ca_seg.errors import BadDataset

HOW_TO_GET = "a dataset folder has images/, masks/ and classes.json; every image has masks/<same name>.png"


class FolderDataset(SegmentationDataset):
    """Images with masks from a folder, in the order of their names (or of the split).

    The layout is checked at the start: the parts are there, every image has a mask and every mask an image, and the
    first pair that can be read fits. Hidden files, and files in images/ with another suffix, are skipped.

    Args:
        root: the folder
        split: one of its splits.json; None: all images

    Raises:
        BadDataset: for a wrong layout
        UnknownName: for a split that there is not
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        root = Path(root)
        if not root.is_dir():
            raise BadDataset(f"there is no dataset folder {root}", fix=HOW_TO_GET)
        for part in ("images", "masks"):
            if not (root / part).is_dir():
                raise BadDataset(f"{root} has no folder {part}", fix=HOW_TO_GET)
        class_list = read_classes(root / "classes.json")
        images = _names_by_id(root / "images", IMAGE_SUFFIXES)
        _check_complete(root, images, _names_by_id(root / "masks", (".png",)))
        image_ids = sorted(images) if split is None else read_split(root / "splits.json", split, images)
        pairs = [
            ImageMaskPair(image_id, root / "images" / images[image_id], root / "masks" / f"{image_id}.png")
            for image_id in image_ids
        ]
        super().__init__(root, split, class_list, pairs)


def _names_by_id(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """File names by image_id. Raises BadDataset where two files have the same."""
    names: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            image_id, suffix = os.path.splitext(entry.name)
            if entry.name.startswith(".") or suffix.lower() not in suffixes:
                continue
            if image_id in names:
                first, second = sorted((names[image_id], entry.name))
                raise BadDataset(f"{folder} has both {first} and {second}", fix="keep one of them")
            names[image_id] = entry.name
    return names


def _check_complete(root: Path, images: dict[str, str], masks: dict[str, str]) -> None:
    if not images:
        raise BadDataset(f"{root / 'images'} has no image", allowed=f"one or more of {', '.join(IMAGE_SUFFIXES)}")
    for image_id in sorted(images):
        if masks.get(image_id) != f"{image_id}.png":
            raise BadDataset(f"{root / 'images' / images[image_id]} has no mask", fix=f"add masks/{image_id}.png")
    without_image = sorted(set(masks) - set(images))
    if without_image:
        image_id = without_image[0]
        raise BadDataset(f"{root / 'masks' / masks[image_id]} has no image", fix=f"add images/{image_id}.png or .jpg")


def open_dataset(name: str, root: str, split: str | None) -> FolderDataset:
    return FolderDataset(root, split)
