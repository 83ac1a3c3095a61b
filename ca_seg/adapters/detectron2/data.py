"""Any dataset of the catalogue in detectron2's DatasetCatalog and MetadataCatalog.

detectron2 takes the numbers in a mask file for class indices, and reads palette masks as shades of gray in training but
as indices in evaluation. So masks are converted once, to a folder that the user names:

CACHE/masks/<image_id>.png      8-bit gray, class index 0..K-1, 255 = void
CACHE/images/<image_id>.png     only where images have no files of their own (one HDF5 file, a Hugging Face table), or
                                detectron2 reads other pixels from them (16 bits, a turned TIFF, HEIC)
CACHE/dataset.json          the sem_seg dicts, the images that were skipped, and a fingerprint of the source
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from filelock import FileLock
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import read_json
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.classes import ClassList
from ca_seg.data.collate import Sample, Skipped, SkipUnreadable
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadDataset, UserError
from ca_seg.fingerprint import fingerprint
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

FORMAT = 2  # of what is in CACHE
HOW_TO_FIX = "give another folder, or remove this one so that it is written again"


def register(
    name: str, dataset: str, root: str | None = None, split: str | None = None, *, cache: Path | str
) -> tuple[ClassList, list[Skipped]]:
    """Register a dataset of the catalogue in detectron2.

    Dicts have file_name, sem_seg_file_name, height, width and image_id. The metadata has stuff_classes, stuff_colors,
    ignore_label 255 and evaluator_type "sem_seg". The first call reads every image and mask once and writes the mask to
    `cache`; later calls, and other processes, use what is there. Images that cannot be read are skipped and listed.

    Args:
        name: what it is called in detectron2
        dataset: a name from `ca-seg data list`
        root: its folder, for datasets that do not ship
        split: a part of the dataset; None: all of it
        cache: the folder for the converted masks

    Returns:
        the dataset's classes, and the images that were skipped

    Raises:
        UnknownName: as `open_dataset`
        BadDataset: as `open_dataset`; also if `cache` was written from other files, or no image can be read
        UserError: `name` is taken
    """
    if name in DatasetCatalog:
        raise UserError(f"the name {name!r} is already registered in detectron2", fix="give another name")
    opened = open_dataset(dataset, root, split)
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):  # one process of several converts
        content = _converted(opened, cache, _fingerprint(dataset, opened))
    if not content["dicts"]:
        raise BadDataset(f"no image of {dataset} can be read", fix=f"{cache / 'dataset.json'} lists the reasons")
    classes = opened.class_list
    DatasetCatalog.register(name, lambda: [_with_paths(cache, entry) for entry in content["dicts"]])
    MetadataCatalog.get(name).set(
        stuff_classes=list(classes.names),
        stuff_colors=[list(colour(index)) for index in range(len(classes))],
        ignore_label=IGNORE_INDEX,
        evaluator_type="sem_seg",
    )
    return classes, [Skipped(*entry) for entry in content["skipped"]]


def _converted(dataset: SegmentationDataset, cache: Path, source_fingerprint: str) -> dict[str, Any]:
    """The content of CACHE/dataset.json, written if missing. Raises BadDataset if it was written from other files."""
    file = cache / "dataset.json"
    if file.exists():
        return _cached(file, dataset.root, source_fingerprint)
    dicts: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    readable = SkipUnreadable(dataset)
    for index in range(len(dataset)):
        sample = readable[index]
        if isinstance(sample, Skipped):
            skipped.append(sample)
        else:
            dicts.append(_convert(sample, dataset.image_path(index), cache))
    content = {"fingerprint": source_fingerprint, "dicts": dicts, "skipped": skipped}
    with atomic_write(file) as part:
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return content


def _cached(file: Path, root: Path, source_fingerprint: str) -> dict[str, Any]:
    """The content of a former CACHE/dataset.json. Raises BadDataset for a damaged one, and for one of other files."""
    try:
        content = read_json(file)
        of_these_files = content["fingerprint"] == source_fingerprint
        dicts, skipped = content["dicts"], content["skipped"]
        whole = all(isinstance(entry[key], str) for entry in dicts for key in ("file_name", "sem_seg_file_name"))
        whole = whole and all(len(entry) == len(Skipped._fields) for entry in skipped)
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise BadDataset(f"{file} cannot be read ({problem!r:.200})", fix=HOW_TO_FIX) from problem
    if not of_these_files:
        raise BadDataset(f"{file.parent} was written from other files than {root}", fix=HOW_TO_FIX)
    if not whole:
        raise BadDataset(f"{file} is damaged", fix=HOW_TO_FIX)
    return content


def _convert(sample: Sample, image: Path, cache: Path) -> dict[str, Any]:
    """Write a mask, and its image where detectron2 cannot read it. Returns its dict, with paths relative to CACHE."""
    image_id = sample["image_id"]
    mask = sample["mask"].numpy().astype(np.uint8)
    mask_path, image_copy = Path("masks") / f"{image_id}.png", Path("images") / f"{image_id}.png"
    _write_png(cache / mask_path, mask)
    pixels = (sample["image"] * 255).round().byte().permute(1, 2, 0).numpy()
    is_readable = _reads_alike(image, pixels)
    if not is_readable:
        _write_png(cache / image_copy, pixels)
    return {
        "file_name": str(image.resolve()) if is_readable else image_copy.as_posix(),
        "sem_seg_file_name": mask_path.as_posix(),
        "height": mask.shape[0],
        "width": mask.shape[1],
        "image_id": image_id,
    }


def _reads_alike(image: Path, pixels: np.ndarray) -> bool:
    """Whether detectron2 reads these pixels, uint8 [H, W, 3], from an image's file."""
    if not image.is_file():
        return False
    try:
        return np.array_equal(read_image(str(image), "RGB"), pixels)
    except (OSError, SyntaxError, ValueError):  # a kind of file that it does not know
        return False


def _with_paths(cache: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """A dict with paths that detectron2 can open; absolute paths stay as they are."""
    return entry | {key: str(cache / entry[key]) for key in ("file_name", "sem_seg_file_name")}


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_write(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")


def _fingerprint(name: str, dataset: SegmentationDataset) -> str:
    """Of what the masks are written from: names, classes, and size and time of every file."""
    classes = dataset.class_list
    parts: list[Any] = [FORMAT, name, classes.names, classes.ids, classes.ignore]
    for index, image_id in enumerate(dataset.image_ids):
        parts.append((image_id, *_state(dataset.image_path(index)), *_state(dataset.mask_path(index))))
    return fingerprint(parts, digits=64)


def _state(path: Path) -> Sequence[str | int]:
    """Path, size and time of a file; of the container where the path is a name inside one."""
    status = next(parent for parent in (path, *path.parents) if parent.exists()).stat()
    return os.path.realpath(path), status.st_size, status.st_mtime_ns
