"""The shipped scenes: composed images with exact masks, for tests, examples and the mini backbone."""

from __future__ import annotations

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.resources import resource_path

HOW_TO_GET = "it comes with ca_seg"


def open_dataset(name: str, root: str | None, split: str | None) -> FolderDataset:
    return FolderDataset(resource_path("datasets", "scenes") if root is None else root, split)
