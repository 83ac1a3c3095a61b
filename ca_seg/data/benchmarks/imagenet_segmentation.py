"""ImageNet-Segmentation (Guillaumin, Kuettel and Ferrari, IJCV 2014): one object per image, in one MATLAB v7.3 file.

gtsegs_ijcv.mat is an HDF5 file, in which MATLAB's arrays have their axes reversed:

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
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
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
    """The images and masks of gtsegs_ijcv.mat.

    The file is opened again for each image (half a millisecond), so that processes that read images never share an
    open HDF5 file. `image_path` and `mask_path` are names inside the file, gtsegs_ijcv.mat/00000, and not files.

    Args:
        file: gtsegs_ijcv.mat

    Raises:
        BadDataset: for another file, one that is not whole, and another number of images than was published
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
        pairs = [ImageMaskPair(f"{i:05d}", file / f"{i:05d}", file / f"{i:05d}") for i in range(counts["img"])]
        super().__init__(file.parent, None, class_list("imagenet-segmentation"), pairs)

    def read_image(self, index: int) -> torch.Tensor:
        with self._cell("img", index) as cell:
            colours = cell[()]
        if colours.ndim != 3 or colours.shape[0] != 3 or colours.dtype != np.uint8:
            raise UnreadableImage(f"{self.image_path(index)} is {colours.dtype} {colours.shape}, no image")
        return torch.from_numpy(colours.transpose(0, 2, 1).copy()).float() / 255

    def image_bytes(self, index: int) -> bytes:
        """The shape, followed by the colours."""
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
        """The first WordNet name of every image's synset.

        The ConceptAttention paper starts from the same names and shortens them by hand; its table is not published.

        Raises:
            MissingExtra: where the package timm, which has the names, is not installed
            BadDataset: for a synset that timm does not know
        """
        if not self._has_ids:
            return {}
        with optional_imports("the names of ImageNet's classes"):
            from timm.data import ImageNetInfo  # only here: it takes seconds to import
        names = ImageNetInfo("imagenet22k")
        words = {}
        for index, image_id in enumerate(self.image_ids):
            synset = self.synset(index)
            try:
                lemmas = names.label_name_to_description(synset, detailed=False)
            except KeyError as problem:
                raise BadDataset(f"{self.image_path(index)} is of the unknown synset {synset!r}") from problem
            words[image_id] = lemmas.split(",")[0].replace("_", " ").strip()
        return words

    @contextmanager
    def _cell(self, name: str, index: int) -> Iterator[h5py.Dataset]:
        """The array that a cell refers to, however many references are between them."""
        import h5py

        try:
            with h5py.File(self.file, "r") as content:
                cells = content["value"][name]
                value = content[cells[np.unravel_index(int(self._pairs[index].image_id), cells.shape)]]
                while value.dtype == h5py.ref_dtype:
                    value = content[value[(0,) * value.ndim]]
                yield value
        except _BROKEN as problem:
            raise UnreadableImage(f"{self._pairs[index].image_path} cannot be read ({problem})") from problem


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    if split not in (None, "all"):
        raise UnknownName("split", str(split), ("all",))
    file = Path(root) if Path(root).suffix == ".mat" else Path(root) / FILE
    if not file.is_file():
        raise BadDataset(f"{file} is missing", fix=HOW_TO_GET)
    return ImageNetSegmentation(file)
