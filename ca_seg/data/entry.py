"""What the catalogue knows of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ca_seg.data.dataset import SegmentationDataset


@dataclass(frozen=True)
class DatasetEntry:
    """A name, one line on what it is, how a user comes by it, and how it is opened.

    `open(root, split)` gives the dataset; `root` is a folder or None (the place where the dataset is expected), `split`
    one of its splits or None (all images, or the usual one). `classes` names a file of class_lists with its synonyms
    and background words; "" where there is none.
    """

    name: str
    summary: str
    how_to_get: str
    open: Callable[[str | None, str | None], SegmentationDataset]
    classes: str = ""
