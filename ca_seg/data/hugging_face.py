"""A Hugging Face dataset on disk (`save_to_disk`): a column of pictures and a column of masks of ids.

DIR/                 what `save_to_disk` wrote: one dataset, or one folder a split
DIR/classes.json     {"ignore": [255], "classes": {"0": "cat", ...}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from ca_seg.data.classes import read_classes
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.errors import BadDataset, BadMask, UnknownName, UnreadableImage, UserError

HOW = "DIR as datasets.save_to_disk writes it, with columns image and annotation (or label), and DIR/classes.json"
MASKS = ("annotation", "label", "mask", "labels")


class HuggingFace(SegmentationDataset):
    """Rows of `table`; pictures have no files of their own, and are named by their number."""

    def __init__(self, root: Path, split: str | None, table: Any) -> None:
        self._table = table
        self._mask = next((name for name in MASKS if name in table.column_names), None)
        if "image" not in table.column_names or self._mask is None:
            raise BadDataset(f"{root} has columns {', '.join(table.column_names)}", allowed=f"image and one of {MASKS}")
        pairs = [Pair(f"{i:06d}", root / f"{i:06d}", root / f"{i:06d}") for i in range(len(table))]
        super().__init__(root, split, read_classes(root / "classes.json"), pairs)

    def read_picture(self, index: int) -> torch.Tensor:
        picture = ImageOps.exif_transpose(self._cell(index, "image")).convert("RGB")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255

    def read_ids(self, index: int) -> np.ndarray:
        mask = self._cell(index, str(self._mask))
        if mask.mode not in ("L", "P", "1", "I", "I;16"):
            raise BadMask(f"{self.mask_path(index)} is a picture of mode {mask.mode}", allowed="ids, gray or palette")
        return np.asarray(mask).astype(np.int64)

    def size(self, index: int) -> tuple[int, int]:
        width, height = ImageOps.exif_transpose(self._cell(index, "image")).size
        return height, width

    def _cell(self, index: int, column: str) -> Image.Image:
        try:
            return self._table[int(self._pairs[index].stem)][column]
        except (OSError, ValueError) as problem:
            raise UnreadableImage(f"{self.image_path(index)} cannot be read ({problem})") from problem


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    if root is None:
        raise BadDataset("the dataset 'hugging-face' needs a folder", fix=f"give its root; {HOW}")
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError as problem:
        raise UserError(
            "the dataset 'hugging-face' needs the package datasets", fix="pip install datasets"
        ) from problem
    try:
        found = load_from_disk(root)
    except (OSError, ValueError) as problem:
        raise BadDataset(f"{root} cannot be read ({str(problem).splitlines()[0]})", fix=HOW) from problem
    if isinstance(found, DatasetDict):
        if split not in found:
            raise UnknownName("split", str(split), found)
        found = found[split]
    return HuggingFace(Path(root), split, found)


ENTRIES = (DatasetEntry("hugging-face", "a Hugging Face dataset on disk", HOW, _open),)
