"""Datasets by name. To add one: a file that defines its ENTRY, and one line here."""

from __future__ import annotations

from ca_seg.data import folder, scenes
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.folder import FolderDataset
from ca_seg.errors import UnknownName

DATASETS: dict[str, DatasetEntry] = {
    "folder": folder.ENTRY,
    "scenes": scenes.ENTRY,
}


def open_dataset(name: str, root: str | None = None, split: str | None = None) -> FolderDataset:
    """The dataset `name`, or one split of it. Raises UnknownName, listing what there is, and BadDataset."""
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS, fix="for your own pictures use 'folder' and give its root")
    return DATASETS[name].open(root, split)
