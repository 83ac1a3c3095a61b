"""A Hugging Face dataset on disk (`save_to_disk`): a column of images and a column of masks of ids.

DIR/                 what `save_to_disk` wrote: one dataset, or one folder per split
DIR/classes.json     {"ignore": [255], "classes": {"0": "cat", ...}}

Images and masks are decoded as files are: any depth, palette and EXIF orientation. A broken one is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ca_seg.data.classes_json import read_classes
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
from ca_seg.data.read import HeldFile, read_image, read_mask, read_size
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage
from ca_seg.optional import optional_imports

HOW_TO_GET = (
    "DIR as datasets.save_to_disk writes it, with columns image and annotation (or label), and DIR/classes.json"
)
_BROKEN = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)  # of the library, and of Arrow
MASKS = ("annotation", "label", "mask", "labels")


class HuggingFace(SegmentationDataset):
    """The rows of a table. Images have no files, so `image_path` is a name: DIR/000000 and so on, by the row.

    Args:
        root: the folder of the dataset
        split: the part that this is, or None
        table: a `datasets.Dataset`

    Raises:
        BadDataset: for a table without a column of images and one of masks
    """

    def __init__(self, root: Path, split: str | None, table: Any) -> None:
        from datasets import Image  # type: ignore[attr-defined]  # mypy sees the folder datasets/

        masks = [name for name in MASKS if name in table.column_names]
        if "image" not in table.column_names or not masks:
            raise BadDataset(f"{root} has columns {', '.join(table.column_names)}", allowed=f"image and one of {MASKS}")
        for column in ("image", masks[0]):
            if not isinstance(table.features[column], Image):
                raise BadDataset(f"the column {column!r} of {root} is {table.features[column]}", allowed="Image()")
            table = table.cast_column(column, Image(decode=False))
        self._table, self._mask = table, masks[0]
        pairs = [ImageMaskPair(f"{i:06d}", root / f"{i:06d}", root / f"{i:06d}") for i in range(len(table))]
        super().__init__(root, split, read_classes(root / "classes.json"), pairs)

    def read_image(self, index: int) -> torch.Tensor:
        return read_image(self._cell(index, "image"))

    def image_bytes(self, index: int) -> bytes:
        return self._cell(index, "image").getvalue()

    def read_ids(self, index: int) -> np.ndarray:
        return read_mask(self._cell(index, self._mask))

    def size(self, index: int) -> tuple[int, int]:
        return read_size(self._cell(index, "image"))

    def _cell(self, index: int, column: str) -> HeldFile:
        name = f"{column} of {self.image_path(index)}"
        try:
            cell = self._table[int(self._pairs[index].image_id)][column]
        except _BROKEN as problem:
            raise UnreadableImage(f"{name} cannot be read ({_reason(problem)})", fix=HOW_TO_GET) from problem
        if cell is None or cell["bytes"] is None:
            raise UnreadableImage(f"{name} is empty, or only a path", fix="write the set again with save_to_disk")
        return HeldFile(cell["bytes"], name)


def _reason(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0][:300]


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    with optional_imports("the dataset 'hugging-face'"):
        from datasets import DatasetDict, load_from_disk  # type: ignore[attr-defined]
    try:
        table = load_from_disk(root)
        for part in table.values() if isinstance(table, DatasetDict) else (table,):
            part.data.validate(full=True)  # Arrow would read wherever broken offsets point
    except _BROKEN as problem:
        raise BadDataset(f"{root} cannot be read ({_reason(problem)})", fix=HOW_TO_GET) from problem
    if isinstance(table, DatasetDict):
        if split not in table:
            raise UnknownName("split", str(split), table)
        table = table[split]
    elif split is not None:
        raise BadDataset(f"{root} is one dataset without splits, and not split {split!r}", fix="ask for no split")
    return HuggingFace(Path(root), split, table)
