"""The shipped scenes: composed images with exact masks, for tests, examples and the mini backbone."""

from __future__ import annotations

from ca_seg.data.entry import DatasetEntry
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.resources import resource_path


def _open(root: str | None, split: str | None) -> FolderDataset:
    return FolderDataset(resource_path("datasets", "scenes") if root is None else root, split)


ENTRIES = (
    DatasetEntry("scenes", "composed scenes of objects on stuff, with exact masks", "it comes with ca_seg", _open),
)
