"""The datasets that come with ca_seg, in the folder format, each in datasets/NAME."""

from __future__ import annotations

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.resources import resource_path

HOW_TO_GET = "it comes with ca_seg"


def open_dataset(name: str, root: str | None, split: str | None) -> FolderDataset:
    return FolderDataset(resource_path("datasets", name) if root is None else root, split)
