"""The folder format: how the shipped scenes lie on disk, and how anyone's own pictures can.

DIR/images/<stem>.png or .jpg ...     the pictures
DIR/masks/<stem>.png                  one per picture, same size: 8- or 16-bit ids, gray or palette
DIR/classes.json                      {"ignore": [0], "classes": {"1": "cat", "2": "grass"}}
DIR/splits.json                       optional: {"val": ["stem", ...], "test": [...]}
"""

from __future__ import annotations

import copy
import os
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ca_seg.data.classes import ClassList, read_classes
from ca_seg.data.collate import Sample
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.data.splits import read_split
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnreadableImage

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
LAYOUT = "a dataset folder has images/, masks/ and classes.json; every picture has masks/<same name>.png"


class FolderDataset(Dataset):
    """Pictures with masks from a folder, in the order of their stems (or of the split).

    The layout is checked here, before a long run: the parts are there, every picture has a mask and every mask a
    picture, and the first pair that can be read fits. The other pairs are checked when they are read. Files whose name
    begins with a dot, and files in images/ that are no pictures, are left alone.

    Raises BadDataset for a wrong layout, UnknownName for an unknown `split`; `__getitem__` raises UnreadableImage or
    BadMask, naming the file.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        self.root, self.split = Path(root), split
        if not self.root.is_dir():
            raise BadDataset(f"there is no dataset folder {self.root}", fix=LAYOUT)
        for part in ("images", "masks"):
            if not (self.root / part).is_dir():
                raise BadDataset(f"{self.root} has no folder {part}", fix=LAYOUT)
        self.class_list: ClassList = read_classes(self.root / "classes.json")
        pictures = _by_stem(self.root / "images", PICTURES)
        _check_pairs(self.root, pictures, _by_stem(self.root / "masks", (".png",)))
        stems = sorted(pictures) if split is None else read_split(self.root / "splits.json", split, pictures)
        self._files: list[str] = [pictures[stem] for stem in stems]
        self._check_first()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        return self._read(index)

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(os.path.splitext(name)[0] for name in self._files)

    def image_path(self, index: int) -> Path:
        return self.root / "images" / self._files[index]

    def mask_path(self, index: int) -> Path:
        return self.root / "masks" / f"{os.path.splitext(self._files[index])[0]}.png"

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a picture, from the head of its file."""
        return read_size(self.image_path(index))

    def first(self, count: int) -> FolderDataset:
        """The same dataset with its first `count` pairs only (all of them when there are fewer)."""
        if count < 1:
            raise OutOfRange(f"a limit of {count} pictures", allowed="1 or more, or none")
        fewer = copy.copy(self)
        fewer._files = self._files[:count]
        return fewer

    def _check_first(self) -> None:
        for index in range(len(self)):
            try:
                self._read(index)
            except UnreadableImage:
                continue  # one broken file is reported when its turn comes
            except BadMask as error:
                raise BadDataset(error.what, allowed=error.allowed, fix=error.fix) from error
            return
        raise BadDataset(f"none of the {len(self)} pictures in {self.root} can be read, or none of their masks")

    def _read(self, index: int) -> Sample:
        path, mask_path = self.image_path(index), self.mask_path(index)
        image, ids = read_image(path), read_mask(mask_path)
        height, width = image.shape[1:]
        if ids.shape != (height, width):
            on_its_side = ids.shape == (width, height)
            raise BadMask(
                f"{mask_path} is {ids.shape[1]} x {ids.shape[0]} pixels, its picture is {width} x {height}",
                allowed="the same size",
                fix="it lies on its side; if EXIF turns the picture, turn the mask too" if on_its_side else "",
            )
        try:
            mask = torch.from_numpy(self.class_list.to_index(ids))
        except BadMask as error:
            raise BadMask(f"{mask_path}: {error.what}", allowed=error.allowed, fix=error.fix) from error
        return Sample(image=image, mask=mask, stem=path.stem, path=str(path))


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


ENTRY = DatasetEntry("folder", "your own pictures and masks", LAYOUT, _open)
