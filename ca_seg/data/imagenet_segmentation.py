"""ImageNet-Segmentation (Guillaumin, Kuettel and Ferrari, IJCV 2014): one object a picture, in one MATLAB v7.3 file.

gtsegs_ijcv.mat  is HDF5:  value/img  [1, N] references ──► uint8 [3, W, H]       (MATLAB's order: transposed)
                           value/gt   [1, N] references ──► [1, 1] reference ──► uint8 [W, H], 1 is the object

Pictures are read one by one from the file; they have no files of their own.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.official import check_count, class_list
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage

HOW = "gtsegs_ijcv.mat of the ImageNet auto-annotation project of Calvin, Edinburgh"
FILE = "gtsegs_ijcv.mat"
COUNTS: dict[str, int] = {"all": 4276}


class ImageNetSegmentation(SegmentationDataset):
    """The pairs of the file at `file`; each process opens it on its own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._open_file: h5py.File | None = None
        count = self._at("img").shape[-1]
        check_count(count, COUNTS.get("all"), str(file))
        pairs = [Pair(f"{i:05d}", file / f"{i:05d}", file / f"{i:05d}") for i in range(count)]
        super().__init__(file.parent, None, class_list("imagenet-segmentation"), pairs)

    def read_picture(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self._array("img", index).transpose(0, 2, 1).copy()).float() / 255

    def read_ids(self, index: int) -> np.ndarray:
        return self._array("gt", index).T.astype(np.int64)

    def size(self, index: int) -> tuple[int, int]:
        width, height = self._target("img", index).shape[-2:]
        return height, width

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open_file": None}

    def _at(self, name: str) -> h5py.Dataset:
        try:
            if self._open_file is None:
                self._open_file = h5py.File(self.file, "r")
            return self._open_file["value"][name]
        except (OSError, KeyError) as problem:
            raise BadDataset(f"{self.file} is not {FILE} ({problem})", fix=HOW) from problem

    def _target(self, name: str, index: int) -> h5py.Dataset:
        place = int(self._pairs[index].stem) if hasattr(self, "_pairs") else index
        found = self._at(name)[0, place]
        assert self._open_file is not None
        target = self._open_file[found]
        while target.dtype == h5py.ref_dtype:
            target = self._open_file[target[(0,) * target.ndim]]
        return target

    def _array(self, name: str, index: int) -> np.ndarray:
        try:
            return self._target(name, index)[()]
        except (OSError, KeyError, ValueError) as problem:
            raise UnreadableImage(f"{self.image_path(index)} cannot be read ({problem})") from problem


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    if split not in (None, "all"):
        raise UnknownName("split", str(split), ("all",))
    if root is None:
        raise BadDataset("the dataset 'imagenet-segmentation' needs a folder", fix=f"give its root; {HOW}")
    file = Path(root) if Path(root).suffix == ".mat" else Path(root) / FILE
    if not file.is_file():
        raise BadDataset(f"{file} is missing", fix=HOW)
    return ImageNetSegmentation(file)


ENTRIES = (
    DatasetEntry(
        "imagenet-segmentation", "ImageNet-Segmentation, an object and its background", HOW, _open,
        "imagenet-segmentation",
    ),
)  # fmt: skip
