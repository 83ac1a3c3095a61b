"""Datasets by name. To add one: a reader (see `DatasetEntry`), and one line here.

Nothing heavy is imported before a dataset is opened, so that listing them takes no time.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ca_seg.data.entry import DatasetEntry as Entry
from ca_seg.errors import BadDataset, UnknownName

if TYPE_CHECKING:
    from ca_seg.data.benchmarks.official import ClassWords
    from ca_seg.data.dataset import SegmentationDataset

DATASETS: dict[str, Entry] = {
    "folder": Entry("formats.folder", "your own images and masks"),
    "scenes": Entry("benchmarks.shipped", "composed scenes of objects on stuff, with exact masks", shipped=True),
    "photographs": Entry("benchmarks.shipped", "26 photographs of COCO, 120 classes of things and stuff", shipped=True),
    "voc20": Entry("benchmarks.voc", "PASCAL VOC 2012, 20 classes without background", "voc20"),
    "voc21": Entry("benchmarks.voc", "PASCAL VOC 2012, 20 classes and the background", "voc21"),
    "imagenet-segmentation": Entry(
        "benchmarks.imagenet_segmentation",
        "ImageNet-Segmentation, an object and its background",
        "imagenet-segmentation",
    ),
    "pascal-context59": Entry("benchmarks.pascal_context", "PASCAL Context, 59 classes", "pascal-context59"),
    "pascal-context60": Entry(
        "benchmarks.pascal_context", "PASCAL Context, 59 classes and the background", "pascal-context60"
    ),
    "coco-stuff": Entry("benchmarks.coco", "COCO-Stuff, 80 things and 91 stuffs", "coco-stuff"),
    "coco-object": Entry("benchmarks.coco", "COCO's 80 things and the background", "coco-object"),
    "ade20k": Entry("benchmarks.ade20k", "ADE20K, 150 classes of scenes", "ade20k"),
    "cityscapes": Entry("benchmarks.cityscapes", "Cityscapes, 19 classes of streets", "cityscapes"),
    "camvid": Entry("benchmarks.camvid", "CamVid, 11 classes of streets", "camvid"),
    "msrc": Entry("benchmarks.msrc", "MSRC-21, photographs of 23 classes"),
    "pet": Entry("benchmarks.pet", "Oxford-IIIT Pet, an animal and its background", "pet"),
    "davis": Entry("benchmarks.davis", "DAVIS 2017 frames, objects and the rest", "davis"),
    "labelled": Entry("formats.labelled", "labels that `ca-seg label` wrote"),
    "images": Entry("formats.image_folder", "images without masks, to be labelled"),
    "webdataset": Entry("formats.webdataset", "WebDataset shards of images without masks, to be labelled"),
    "coco-json": Entry("formats.coco_json", "your own images with a COCO annotation file"),
    "sem-seg-dicts": Entry("formats.sem_seg_dicts", "detectron2's sem_seg dicts as JSON"),
    "hugging-face": Entry("formats.hugging_face", "a Hugging Face dataset on disk"),
}
FORMER_NAMES = {"pictures": "images"}


def list_datasets() -> list[str]:
    """The names of the datasets, for `open_dataset` and for every function that takes `data`.

    Example:
        >>> "scenes" in list_datasets()
        True
    """
    return list(DATASETS)


def open_dataset(
    name: str, root: str | None = None, split: str | None = None, *, masks: bool = True
) -> SegmentationDataset:
    """Open a dataset, or one split of it.

    Args:
        name: one of `list_datasets()`
        root: its folder; None where it comes with ca_seg
        split: one of its splits; None: the usual one, or all images
        masks: whether they will be read; if not, nothing is said about masks that are missing or of no use

    Raises:
        UnknownName: for a name or split that there is not
        BadDataset: for a folder that is missing or not whole, saying how to get the data

    Example:
        >>> open_dataset("scenes", split="val")[0]["image_id"]
    """
    if name in FORMER_NAMES:
        warnings.warn(f"the dataset {name!r} is now called {FORMER_NAMES[name]!r}", FutureWarning, stacklevel=2)
    entry = _entry(name)
    reader = entry.module()
    if root is None and not entry.shipped:
        raise BadDataset(f"the dataset {name!r} needs a folder", fix=f"give its root; {reader.HOW_TO_GET}")
    from ca_seg.data.dataset import MASKS_ARE_READ

    token = MASKS_ARE_READ.set(masks)
    try:
        return reader.open_dataset(name, root, split)
    finally:
        MASKS_ARE_READ.reset(token)


def class_words(name: str) -> ClassWords:
    """Synonyms and the background class of a dataset; none for a dataset whose classes are a user's own."""
    from ca_seg.data.benchmarks.official import ClassWords, class_list_words

    class_list = _entry(name).class_list
    return class_list_words(class_list) if class_list else ClassWords({})


def _entry(name: str) -> Entry:
    name = FORMER_NAMES.get(name, name)
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS, fix="for your own images use 'folder' and give its root")
    return DATASETS[name]
