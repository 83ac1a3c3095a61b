"""The folder of a labelling run, read again.

OUT/run.json              what was asked, and of which images
OUT/manifest.jsonl        a line for each image that is done, once the run has come to its end
OUT/.manifests/*.jsonl    the same of each process, until then
OUT/png/masks/KEY.png     class indices, 255 = ignore
OUT/confidence/KEY.png    gray, round(confidence * 255)
OUT/summary.json          at the end: "skipped": [{"image": "b.jpg", "reason": "..."}, ...]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.keys import check_relative
from ca_seg.labelling.manifest import read_entries

HOW = "`ca-seg label` writes one"


@dataclass(frozen=True)
class LabelRun:
    """One run. Raises UserError where a file is missing or broken, BadMask for a mask or map that does not fit."""

    folder: Path
    classes: tuple[str, ...]
    images: Path  # where the images lie
    fingerprint: str
    settings: dict[str, Any]  # what the labels depend on

    @classmethod
    def open(cls, folder: Path, images: Path | None = None) -> LabelRun:
        """The run in `folder`; `images` tells where its images lie now, if they were moved."""
        about = _read_json(folder / "run.json")
        for key, kind in (("classes", list), ("images", dict), ("fingerprint", str), ("settings", dict)):
            if not isinstance(about.get(key), kind):
                raise UserError(f"{folder / 'run.json'} has no {key!r}", fix=HOW)
        root = images or Path(about["images"].get("folder", ""))
        return cls(folder, tuple(about["classes"]), root, about["fingerprint"], about["settings"])

    def entries(self) -> Iterator[Entry]:
        """What is done, line by line. While the run is under way, an image that changed may come twice."""
        whole = self.folder / "manifest.jsonl"
        parts = [whole] if whole.exists() else sorted((self.folder / ".manifests").glob("*.jsonl"))
        if not parts:
            raise UserError(f"{self.folder} has no manifest", fix=HOW)
        for part in parts:
            yield from read_entries(part, self.fingerprint)

    def skipped(self) -> list[tuple[str, str]] | None:
        """Images that got no label, with reasons; None when the run has not come to its end."""
        path = self.folder / "summary.json"
        if not path.exists():
            return None
        found = _read_json(path).get("skipped")
        if not isinstance(found, list) or not all(isinstance(own, dict) for own in found):
            raise UserError(f"{path} has no list of skipped images", fix=HOW)
        return [(str(own.get("image")), str(own.get("reason"))) for own in found]

    def image_path(self, entry: Entry) -> Path:
        check_relative(entry.image, "the image's name")
        return self.images / entry.image

    def mask_path(self, entry: Entry) -> Path:
        check_relative(entry.key, "the key")
        return self.folder / "png" / "masks" / f"{entry.key}.png"

    def confidence_path(self, entry: Entry) -> Path:
        check_relative(entry.key, "the key")
        return self.folder / "confidence" / f"{entry.key}.png"

    def mask(self, entry: Entry) -> np.ndarray:
        """uint8 [H, W], class indices and 255."""
        mask = _pixels(self.mask_path(entry), entry, ("P", "L"))
        strange = mask[(mask >= len(self.classes)) & (mask != 255)]
        if strange.size:
            raise BadMask(
                f"{self.mask_path(entry)} has label {strange[0]}", allowed=f"0 to {len(self.classes) - 1}, 255"
            )
        return mask

    def confidence(self, entry: Entry) -> np.ndarray:
        """uint8 [H, W], 255 times the confidence."""
        return _pixels(self.confidence_path(entry), entry, ("L",))


def _pixels(path: Path, entry: Entry, modes: tuple[str, ...]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels, mode = np.array(image), image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise BadMask(f"{path} cannot be read ({problem})", fix="label the image again") from problem
    if mode not in modes or pixels.shape != (entry.height, entry.width):
        raise BadMask(
            f"{path} is of mode {mode}, {pixels.shape[1]} x {pixels.shape[0]}",
            allowed=f"{' or '.join(modes)}, {entry.width} x {entry.height}",
        )
    return pixels


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} cannot be read ({problem})", fix=HOW) from problem
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys", fix=HOW)
    return content
