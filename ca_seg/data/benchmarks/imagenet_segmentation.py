"""ImageNet-Segmentation (Guillaumin, Kuettel and Ferrari, IJCV 2014): one object an image, in one MATLAB v7.3 file.

gtsegs_ijcv.mat is HDF5, and MATLAB's arrays lie in it with their axes reversed:

    value/img   [N, 1] references ──► uint8 [3, W, H]
    value/gt    [N, 1] references ──► [1, 1] reference ──► uint8 [W, H], 1 is the object
    value/id    [N, 1] references ──► [length, 1] letters, "n02099601_7304": the synset of the object, and its image

Images are read one by one from the file; they have no files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ca_seg.data.benchmarks.official import check_count, class_list
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage
from ca_seg.optional import optional_imports

if TYPE_CHECKING:
    import h5py

HOW_TO_GET = "gtsegs_ijcv.mat of the ImageNet auto-annotation project of Calvin, Edinburgh"
FILE = "gtsegs_ijcv.mat"
COUNTS: dict[str, int] = {"all": 4276}
_BROKEN = (
    OSError,
    KeyError,
    ValueError,
    RuntimeError,
    AttributeError,
    IndexError,
)  # what h5py raises for a damaged file


class ImageNetSegmentation(SegmentationDataset):
    """The pairs of the file at `file`.

    The file is opened anew for each image (half a millisecond), so that processes that read images never share an
    open HDF5 file. `image_path` and `mask_path` are names inside the file, gtsegs_ijcv.mat/00000, and not files.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with optional_imports("the dataset 'imagenet-segmentation'"):
            import h5py
        try:
            with h5py.File(file, "r") as content:
                counts = {name: content["value"][name].size for name in ("img", "gt")}
                self._has_ids = "id" in content["value"]
        except _BROKEN as problem:
            raise BadDataset(f"{file} is not {FILE}, or not whole ({problem})", fix=HOW_TO_GET) from problem
        if counts["img"] != counts["gt"]:
            raise BadDataset(f"{file} has {counts['img']} images and {counts['gt']} masks", fix=HOW_TO_GET)
        check_count(counts["img"], COUNTS.get("all"), str(file))
        pairs = [Pair(f"{i:05d}", file / f"{i:05d}", file / f"{i:05d}") for i in range(counts["img"])]
        super().__init__(file.parent, None, class_list("imagenet-segmentation"), pairs)

    def read_image(self, index: int) -> torch.Tensor:
        with self._cell("img", index) as cell:
            colours = cell[()]
        if colours.ndim != 3 or colours.shape[0] != 3 or colours.dtype != np.uint8:
            raise UnreadableImage(f"{self.image_path(index)} is {colours.dtype} {colours.shape}, no image")
        return torch.from_numpy(colours.transpose(0, 2, 1).copy()).float() / 255

    def image_bytes(self, index: int) -> bytes:
        """The colours, and in front of them their shape."""
        with self._cell("img", index) as cell:
            return repr(cell.shape).encode() + cell[()].tobytes()

    def read_ids(self, index: int) -> np.ndarray:
        with self._cell("gt", index) as cell:
            return cell[()].T.astype(np.int64)

    def size(self, index: int) -> tuple[int, int]:
        with self._cell("img", index) as cell:
            width, height = cell.shape[-2:]
        return height, width

    def synset(self, index: int) -> str:
        """The WordNet synset of an image's object, such as "n02099601". Raises BadDataset for a file without them."""
        if not self._has_ids:
            raise BadDataset(f"{self.file} has no value/id, and so no classes", fix=HOW_TO_GET)
        with self._cell("id", index) as cell:
            return "".join(chr(letter) for letter in cell[()].flatten()).strip().split("_")[0]

    def image_words(self) -> dict[str, str]:
        """The first WordNet name of every image's synset, as the ConceptAttention paper's names begin from.

        (The paper then shortened them by hand; that table is not published.) Raises MissingExtra when the package
        timm, which has the names of ImageNet's synsets, is not installed, and BadDataset for a synset it does not know.
        """
        if not self._has_ids:
            return {}
        with optional_imports("the names of ImageNet's classes"):
            from timm.data import ImageNetInfo  # only here: it takes seconds to import
        names = ImageNetInfo("imagenet22k")
        found = {}
        for index, image_id in enumerate(self.image_ids):
            synset = self.synset(index)
            try:
                lemmas = names.label_name_to_description(synset, detailed=False)
            except KeyError as problem:
                raise BadDataset(f"{self.image_path(index)} is of the unknown synset {synset!r}") from problem
            found[image_id] = lemmas.split(",")[0].replace("_", " ").strip()
        return found

    @contextmanager
    def _cell(self, name: str, index: int) -> Iterator[h5py.Dataset]:
        """The array that a cell refers to, through as many references as there are."""
        import h5py

        try:
            with h5py.File(self.file, "r") as content:
                cells = content["value"][name]
                found = content[cells[np.unravel_index(int(self._pairs[index].image_id), cells.shape)]]
                while found.dtype == h5py.ref_dtype:
                    found = content[found[(0,) * found.ndim]]
                yield found
        except _BROKEN as problem:
            raise UnreadableImage(f"{self._pairs[index].image} cannot be read ({problem})") from problem


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    if split not in (None, "all"):
        raise UnknownName("split", str(split), ("all",))
    file = Path(root) if Path(root).suffix == ".mat" else Path(root) / FILE
    if not file.is_file():
        raise BadDataset(f"{file} is missing", fix=HOW_TO_GET)
    return ImageNetSegmentation(file)
