"""What `ca-seg label` wrote, as a dataset to train on: the images, their masks with void, and the confidence.

OUT/run.json              "images": {"folder": "photos", ...}
OUT/manifest.jsonl        {"key": "a/0001", "image": "a/0001.jpg", ...}, one line per image
OUT/png/                  masks/a/0001.png, classes.json          (the format png)
OUT/confidence/           a/0001.png, gray, 255 = certain         (for the split "weighted")

A run that a former version wrote has "pictures" and "picture" in place of "images" and "image". The reader in
`labelling` is not used here because that layer is above this one; only four keys are needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ca_seg.bounded_files import parse_json
from ca_seg.data.classes import ClassList
from ca_seg.data.classes_json import read_classes, read_json
from ca_seg.data.dataset import ImageMaskPair, SegmentationDataset
from ca_seg.data.image_files import lies_within
from ca_seg.data.read import read_mask
from ca_seg.errors import BadDataset, BadMask, UnknownName

HOW_TO_GET = "the folder that `ca-seg label --out DIR` wrote, with png among its formats"
WEIGHTED = "weighted"
FORMER_KEYS = {"images": "pictures", "image": "picture"}


class WeightedByConfidence(SegmentationDataset):
    """Samples with a weight for each pixel: the confidence of its label, 0..1."""

    def __init__(self, root: Path, split: str | None, class_list: ClassList, pairs: Sequence[ImageMaskPair]) -> None:
        self._confidence = root / "confidence"
        super().__init__(root, split, class_list, pairs)

    def weight(self, index: int) -> torch.Tensor:
        """float32 [H, W] in 0..1. Raises BadMask for a file that is missing, or of another size than the image."""
        file = self._confidence / f"{self._pairs[index].image_id}.png"
        if not os.path.isfile(file):
            raise BadMask(f"{file} is missing", fix="label with save_confidence=true")
        gray, size = read_mask(file), self.size(index)
        if gray.shape != size:
            raise BadMask(f"{file} is {gray.shape[1]} x {gray.shape[0]} pixels", allowed=f"{size[1]} x {size[0]}")
        return torch.from_numpy(gray).float() / 255


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    if split not in (None, "all", WEIGHTED):
        raise UnknownName("split", split, ("all", WEIGHTED), fix="all, or weighted by confidence")
    folder = Path(root)
    if not os.path.isfile(folder / "run.json"):
        raise BadDataset(f"{folder} holds no labels: there is no run.json", fix=HOW_TO_GET)
    images = _images_folder(folder)
    pairs = _pairs(folder, images)
    for pair in pairs:
        for path, parent in ((pair.image_path, images), (pair.mask_path, folder)):
            if not lies_within(path, parent):
                raise BadDataset(f"the manifest names {path}", allowed=f"files inside {parent}")
    kind = WeightedByConfidence if split == WEIGHTED else SegmentationDataset
    return kind(folder, split, read_classes(folder / "png" / "classes.json"), pairs)


def _images_folder(folder: Path) -> Path:
    """Where the images of the run are."""
    run = read_json(folder / "run.json")
    try:
        return Path(_value(run, "images")["folder"])
    except (KeyError, TypeError) as problem:
        raise BadDataset(f"{folder / 'run.json'} does not say where the images are", fix=HOW_TO_GET) from problem


def _pairs(folder: Path, images: Path) -> list[ImageMaskPair]:
    manifest = folder / "manifest.jsonl"
    try:
        with manifest.open(encoding="utf-8") as lines:
            if "manifest" not in parse_json(next(lines, "{}")):
                raise ValueError("its first line is no header")
            entries = map(parse_json, lines)
            return [
                ImageMaskPair(key, images / image, folder / "png" / "masks" / f"{key}.png")
                for key, image in ((entry["key"], _value(entry, "image")) for entry in entries)
            ]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BadDataset(f"{manifest} is not a whole manifest ({problem})", fix=HOW_TO_GET) from problem


def _value(content: Any, key: str) -> Any:
    """The value of a key, also under its former name. Raises KeyError or TypeError."""
    return content[key] if key in content else content[FORMER_KEYS[key]]
