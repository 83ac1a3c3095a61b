"""Any dataset of the catalogue in detectron2's DatasetCatalog and MetadataCatalog.

detectron2 takes the numbers in a mask file for class indices, and reads palette masks as shades of gray in training but
as indices in evaluation. So masks are converted once, into a folder that the user names:

CACHE/masks/<stem>.png      8-bit gray, class index 0..K-1, 255 = void
CACHE/images/<stem>.png     only where images have no files of their own (one HDF5 file, a Hugging Face table)
CACHE/dataset.json          the sem_seg dicts, the images that were left out, and what all of it was made from
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from filelock import FileLock
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.classes import ClassList
from ca_seg.data.collate import Sample, Skipped, SkipUnreadable
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadDataset, UserError
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

HOW = "give another folder, or remove this one to have it made again"


def register(
    name: str, dataset: str, root: str | None = None, split: str | None = None, *, cache: Path | str
) -> tuple[ClassList, list[Skipped]]:
    """Register a dataset of the catalogue (or one split of it) as `name`; gives its classes and what was left out.

    Dicts have file_name, sem_seg_file_name, height, width and image_id (the stem). The metadata has stuff_classes,
    stuff_colors, ignore_label 255 and evaluator_type "sem_seg". The first call reads every pair once and writes its
    mask to `cache`; later ones, and other processes, find it there. A pair that cannot be read is left out and listed.

    Raises UnknownName and BadDataset as `open_dataset`; BadDataset too where `cache` was made from other files or no
    pair is left; UserError where `name` is taken.
    """
    if name in DatasetCatalog:
        raise UserError(f"the name {name!r} is already registered in detectron2", fix="give another name")
    opened = open_dataset(dataset, root, split)
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):  # one process of several converts
        content = _converted(opened, cache, _fingerprint(dataset, opened))
    if not content["dicts"]:
        raise BadDataset(f"no image of {dataset} can be read", fix=f"{cache / 'dataset.json'} says why of each")
    classes = opened.class_list
    DatasetCatalog.register(name, lambda: [_placed(cache, entry) for entry in content["dicts"]])
    MetadataCatalog.get(name).set(
        stuff_classes=list(classes.names),
        stuff_colors=[list(colour(index)) for index in range(len(classes))],
        ignore_label=IGNORE_INDEX,
        evaluator_type="sem_seg",
    )
    return classes, [Skipped(*one) for one in content["skipped"]]


def _converted(dataset: SegmentationDataset, cache: Path, fingerprint: str) -> dict[str, Any]:
    """What CACHE/dataset.json says; made if it is not there. Raises BadDataset when it was made from something else."""
    file = cache / "dataset.json"
    if file.exists():
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint:
            raise BadDataset(f"{cache} was made from other files than {dataset.root}", fix=HOW)
        return content
    dicts: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    readable = SkipUnreadable(dataset)
    for index in range(len(dataset)):
        sample = readable[index]
        if isinstance(sample, Skipped):
            skipped.append(sample)
        else:
            dicts.append(_convert(sample, dataset.image_path(index), cache))
    content = {"fingerprint": fingerprint, "dicts": dicts, "skipped": skipped}
    with atomic_write(file) as part:
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return content


def _convert(sample: Sample, image: Path, cache: Path) -> dict[str, Any]:
    """Write a pair's mask (and its image, where that has no file); its dict, with paths inside CACHE relative."""
    image_id = sample["image_id"]
    mask = sample["mask"].numpy().astype(np.uint8)
    masked, copied = Path("masks") / f"{image_id}.png", Path("images") / f"{image_id}.png"
    _write_png(cache / masked, mask)
    own = image.is_file()
    if not own:
        _write_png(cache / copied, (sample["image"] * 255).round().byte().permute(1, 2, 0).numpy())
    return {
        "file_name": str(image.resolve()) if own else copied.as_posix(),
        "sem_seg_file_name": masked.as_posix(),
        "height": mask.shape[0],
        "width": mask.shape[1],
        "image_id": image_id,
    }


def _placed(cache: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """A dict as detectron2 wants it: with paths that it can open. (A path that is absolute already stays.)"""
    return entry | {key: str(cache / entry[key]) for key in ("file_name", "sem_seg_file_name")}


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_write(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")


def _fingerprint(name: str, dataset: SegmentationDataset) -> str:
    """Of what the masks are made from: names, classes, and size and time of every file."""
    classes = dataset.class_list
    parts: list[Any] = [name, classes.names, classes.ids, classes.ignore]
    for index, image_id in enumerate(dataset.image_ids):
        parts.append((image_id, *_state(dataset.image_path(index)), *_state(dataset.mask_path(index))))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _state(path: Path) -> Sequence[str | int]:
    """Place, size and time of a file; of the container where the path is a name inside one."""
    there = next(place for place in (path, *path.parents) if place.exists())
    seen = there.stat()
    return str(path.resolve()), seen.st_size, seen.st_mtime_ns
