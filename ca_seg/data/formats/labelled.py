"""What `ca-seg label` wrote, as a dataset to train on: images where they lie, masks with void, and how sure they are.

OUT/run.json              "images": {"folder": "photos", ...}
OUT/manifest.jsonl        {"key": "a/0001", "image": "a/0001.jpg", ...}, one line an image
OUT/png/                  masks/a/0001.png, classes.json          (the format png)
OUT/confidence/           a/0001.png, gray, 255 = sure            (for the split "weighted")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ca_seg.data.classes import ClassList, read_classes, read_json
from ca_seg.data.dataset import Pair, SegmentationDataset
from ca_seg.data.read import read_mask
from ca_seg.errors import BadDataset, BadMask, UnknownName

HOW_TO_GET = "the folder that `ca-seg label --out DIR` wrote, with png among its formats"
WEIGHTED = "weighted"


class Weighted(SegmentationDataset):
    """Samples that carry a weight for each pixel: the label's confidence, 0..1.

    Raises BadMask where it is missing, or of another size than the mask.
    """

    def __init__(self, root: Path, split: str | None, class_list: ClassList, pairs: list[Pair]) -> None:
        self._confidence = root / "confidence"
        super().__init__(root, split, class_list, pairs)

    def weight(self, index: int) -> torch.Tensor:
        """float32 [H, W] in 0..1."""
        file = self._confidence / f"{self._pairs[index].image_id}.png"
        if not file.is_file():
            raise BadMask(f"{file} is missing", fix="label with --save_confidence true")
        gray, size = read_mask(file), self.size(index)
        if gray.shape != size:
            raise BadMask(f"{file} is {gray.shape[1]} x {gray.shape[0]} pixels", allowed=f"{size[1]} x {size[0]}")
        return torch.from_numpy(gray).float() / 255


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    if split not in (None, "all", WEIGHTED):
        raise UnknownName("split", split, ("all", WEIGHTED), fix="all, or weighted by confidence")
    folder = Path(root)
    if not (folder / "run.json").is_file():
        raise BadDataset(f"{folder} holds no labels: there is no run.json", fix=HOW_TO_GET)
    images = _images(folder)
    pairs = []
    try:
        with (folder / "manifest.jsonl").open(encoding="utf-8") as file:
            if "manifest" not in json.loads(next(file, "{}")):
                raise ValueError("its first line is no header")
            for line in file:
                entry = json.loads(line)
                mask = folder / "png" / "masks" / f"{entry['key']}.png"
                pairs.append(Pair(entry["key"], images / entry["image"], mask))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BadDataset(f"{folder / 'manifest.jsonl'} is no whole manifest ({problem})", fix=HOW_TO_GET) from problem
    for pair in pairs:
        for file, place in ((pair.image, images), (pair.mask, folder)):
            if not file.resolve().is_relative_to(place.resolve()):
                raise BadDataset(f"the manifest names {file}", allowed=f"files inside {place}")
    kind = Weighted if split == WEIGHTED else SegmentationDataset
    return kind(folder, split, read_classes(folder / "png" / "classes.json"), pairs)


def _images(folder: Path) -> Path:
    """Where the images of the run lie."""
    run: Any = read_json(folder / "run.json")
    try:
        return Path(run["images"]["folder"])
    except (KeyError, TypeError) as problem:
        raise BadDataset(f"{folder / 'run.json'} does not say where the images lie", fix=HOW_TO_GET) from problem
