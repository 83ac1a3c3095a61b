"""Datasets by name. To add one: a file that defines its ENTRIES, and one word here."""

from __future__ import annotations

from ca_seg.data.benchmarks import (
    ade20k,
    camvid,
    cityscapes,
    coco,
    davis,
    imagenet_segmentation,
    msrc,
    pascal_context,
    pet,
    scenes,
    voc,
)
from ca_seg.data.benchmarks.official import ClassWords, class_words
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.data.formats import coco_json, folder, hugging_face, image_folder, labelled, sem_seg_dicts, webdataset
from ca_seg.errors import UnknownName

_FILES = (
    folder, scenes, voc, imagenet_segmentation, pascal_context, coco, ade20k, cityscapes, camvid, msrc, pet, davis,
    labelled, image_folder, webdataset, coco_json, sem_seg_dicts, hugging_face,
)  # fmt: skip
DATASETS: dict[str, DatasetEntry] = {entry.name: entry for file in _FILES for entry in file.ENTRIES}


def open_dataset(name: str, root: str | None = None, split: str | None = None) -> SegmentationDataset:
    """The dataset `name`, or one split of it. Raises UnknownName, listing what there is, and BadDataset."""
    return _entry(name).open(root, split)


def dataset_words(name: str) -> ClassWords:
    """Synonyms and the background class of a dataset; none where its classes are its own folder's."""
    classes = _entry(name).classes
    return class_words(classes) if classes else ClassWords({})


def _entry(name: str) -> DatasetEntry:
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS, fix="for your own images use 'folder' and give its root")
    return DATASETS[name]
