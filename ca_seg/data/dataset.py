"""What all datasets have in common: images with masks, checked on opening, read one by one.

A dataset says which pairs of files it has and what the numbers in its masks mean. The rest is here:

    pairs (image_id, image, mask)    ──►  sizes compared, ids mapped to class indices, void = 255  ──►  Sample
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ca_seg.data.classes import ClassList
from ca_seg.data.collate import Sample
from ca_seg.data.image_files import open_regular
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnreadableImage

MASKS_ARE_READ: ContextVar[bool] = ContextVar("masks are read", default=True)  # see `catalogue.open_dataset`


@dataclass(frozen=True, slots=True)
class ImageMaskPair:
    """The files of an image and its mask.

    Args:
        image_id: the image's name, unique in its dataset: "0001", or "a/b/0001" where images are in sub-folders
        image_path: of the image
        mask_path: of the mask
    """

    image_id: str
    image_path: Path
    mask_path: Path


class SegmentationDataset(Dataset):
    """Images with masks, in the order of `pairs`.

    The first pair that can be read is checked here, so that a wrong dataset ends a long run at its start. The others
    are checked when they are read: `dataset[i]` raises UnreadableImage or BadMask, naming the file.

    Args:
        root: the folder of the dataset
        split: the part that this is, or None
        class_list: the classes, and how the numbers in the masks map to them
        pairs: the files

    Raises:
        BadDataset: for no pair, and for a first pair that does not fit
    """

    def __init__(self, root: Path, split: str | None, class_list: ClassList, pairs: Sequence[ImageMaskPair]) -> None:
        self.root, self.split, self.class_list = root, split, class_list
        self._pairs = list(pairs)
        self._check_first()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        pair, image = self._pairs[index], self.read_image(index)
        mask, weight = self.mask(index, image.shape[1], image.shape[2]), self.weight(index)
        sample = Sample(image=image, mask=mask, image_id=pair.image_id, path=str(pair.image_path))
        return sample if weight is None else sample | {"weight": weight}

    def mask(self, index: int, height: int, width: int) -> Tensor:
        """The mask alone of an image of height x width: int64 [H, W], class indices, 255 is void. Raises BadMask."""
        pair, ids = self._pairs[index], self.read_ids(index)
        check_mask_size(pair.mask_path, ids.shape, (height, width))
        try:
            return torch.from_numpy(self.class_list.to_index(ids))
        except BadMask as error:
            raise BadMask(f"{pair.mask_path}: {error.what}", allowed=error.allowed, fix=error.fix) from error

    def weight(self, index: int) -> Tensor | None:
        """float32 [H, W]: how much each pixel counts in training; None: all count alike."""
        return None

    def read_image(self, index: int) -> Tensor:
        """float32 [3, H, W] in 0..1."""
        return read_image(self._pairs[index].image_path)

    def image_bytes(self, index: int) -> bytes:
        """The bytes that `read_image` decodes; they identify the image. Raises UnreadableImage where there are none."""
        with open_regular(self._pairs[index].image_path) as file:
            return file.read()

    def read_ids(self, index: int) -> np.ndarray:
        """The numbers in a mask file, [H, W]: the ids of `class_list`."""
        return read_mask(self._pairs[index].mask_path)

    def image_words(self) -> dict[str, str]:
        """For datasets in which each image shows one class with a word of its own: image_id to that word.

        Empty for all others.
        """
        return {}

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(pair.image_id for pair in self._pairs)

    def image_path(self, index: int) -> Path:
        return self._pairs[index].image_path

    def mask_path(self, index: int) -> Path:
        return self._pairs[index].mask_path

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image, from the header of its file."""
        return read_size(self.image_path(index))

    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the file names, file sizes and class list (not for the contents)."""
        digest = hashlib.sha256(repr((self.class_list.names, self.class_list.ids)).encode())
        for index in range(len(self)):
            for path in (self.image_path(index), self.mask_path(index)):
                size = path.stat().st_size if os.path.isfile(path) else self.size(index)
                digest.update(f"{path.name} {size}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def first(self, count: int) -> SegmentationDataset:
        """The same dataset with its first `count` pairs, or all where there are fewer. Raises OutOfRange below 1."""
        if count < 1:
            raise OutOfRange(f"a limit of {count} images", allowed="1 or more, or none")
        return self.only(range(min(count, len(self))))

    def only(self, indices: Sequence[int]) -> SegmentationDataset:
        """The same dataset with these pairs only, in this order."""
        subset = copy.copy(self)
        subset._pairs = [self._pairs[index] for index in indices]
        return subset

    def _check_first(self) -> None:
        for index in range(len(self)):
            try:
                self[index] if MASKS_ARE_READ.get() else self.read_image(index)
            except UnreadableImage:
                continue  # a single broken file is reported when it is read
            except BadMask as error:
                raise BadDataset(error.what, allowed=error.allowed, fix=error.fix) from error
            return
        raise BadDataset(f"none of the {len(self)} images in {self.root} can be read, or none of their masks")


def check_mask_size(file: Path, mask: tuple[int, ...], image: tuple[int, int]) -> None:
    """Raises BadMask for a mask that has not the height and width of its image."""
    if mask != image:
        turned = mask == image[::-1]
        raise BadMask(
            f"{file} is {mask[1]} x {mask[0]} pixels, its image is {image[1]} x {image[0]}",
            allowed="the same size",
            fix="the mask is turned by 90 degrees; if EXIF turns the image, turn the mask too" if turned else "",
        )
