"""The folder format: how the shipped scenes lie on disk, and how anyone's own pictures can.

DIR/images/<stem>.png or .jpg ...     the pictures
DIR/masks/<stem>.png                  one per picture, same size: 8- or 16-bit ids, gray or palette
DIR/classes.json                      {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}
DIR/splits.json                       optional: {"val": ["stem", ...], "test": [...]}
"""

from __future__ import annotations

import os
from pathlib import Path

from ca_seg.data.classes import read_classes
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.splits import read_split
from ca_seg.errors import BadDataset

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
LAYOUT = "a dataset folder has images/, masks/ and classes.json; every picture has masks/<same name>.png"


class FolderDataset(SegmentationDataset):
    """Pictures with masks from a folder, in the order of their stems (or of the split).

    The layout is checked here, before a long run: the parts are there, every picture has a mask and every mask a
    picture, and the first pair that can be read fits. Files whose name begins with a dot, and files in images/ that are
    no pictures, are left alone.

    Raises BadDataset for a wrong layout, UnknownName for an unknown `split`.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        root = Path(root)
        if not root.is_dir():
            raise BadDataset(f"there is no dataset folder {root}", fix=LAYOUT)
        for part in ("images", "masks"):
            if not (root / part).is_dir():
                raise BadDataset(f"{root} has no folder {part}", fix=LAYOUT)
        class_list = read_classes(root / "classes.json")
        pictures = _by_stem(root / "images", PICTURES)
        _check_pairs(root, pictures, _by_stem(root / "masks", (".png",)))
        stems = sorted(pictures) if split is None else read_split(root / "splits.json", split, pictures)
        pairs = [Pair(stem, root / "images" / pictures[stem], root / "masks" / f"{stem}.png") for stem in stems]
        super().__init__(root, split, class_list, pairs)


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, str]:
    """File names by stem. Raises BadDataset when two files have one stem."""
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, ending = os.path.splitext(entry.name)
            if entry.name.startswith(".") or ending.lower() not in endings:
                continue
            if stem in found:
                one, two = sorted((found[stem], entry.name))
                raise BadDataset(f"{folder} has both {one} and {two}", fix="keep one of them")
            found[stem] = entry.name
    return found


def _check_pairs(root: Path, pictures: dict[str, str], masks: dict[str, str]) -> None:
    if not pictures:
        raise BadDataset(f"{root / 'images'} has no picture", allowed=f"one or more of {', '.join(PICTURES)}")
    for stem in sorted(pictures):
        if masks.get(stem) != f"{stem}.png":
            raise BadDataset(f"{root / 'images' / pictures[stem]} has no mask", fix=f"add masks/{stem}.png")
    lonely = sorted(set(masks) - set(pictures))
    if lonely:
        stem = lonely[0]
        raise BadDataset(f"{root / 'masks' / masks[stem]} has no picture", fix=f"add images/{stem}.png or .jpg")


def _open(root: str | None, split: str | None) -> FolderDataset:
    if root is None:
        raise BadDataset("the dataset 'folder' needs a folder", fix=f"give its root; {LAYOUT}")
    return FolderDataset(root, split)


ENTRIES = (DatasetEntry("folder", "your own pictures and masks", LAYOUT, _open),)
