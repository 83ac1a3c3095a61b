"""The folder of a labelling run, read.

OUT/run.json              the settings, and where the images are
OUT/manifest.jsonl        one line per labelled image, once the run has ended
OUT/.manifests/*.jsonl    the same of each process, until then
OUT/png/masks/KEY.png     class indices, 255 = ignore
OUT/confidence/KEY.png    gray, round(confidence * 255)
OUT/summary.json          at the end: "skipped": [{"image": "b.jpg", "reason": "..."}, ...]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ca_seg.bounded_files import read_json
from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.keys import check_relative
from ca_seg.labelling.manifest import read_entries
from ca_seg.labelling.run_folder import SCHEMA
from ca_seg.vocabulary import IGNORE_INDEX

FORMER_SCHEMA = "ca_seg.labels/1"  # with "pictures" for "images" and "certainty" for "confidence"
HOW_TO_FIX = "`ca-seg label` writes one"


@dataclass(frozen=True)
class LabelRun:
    """The labels, images and settings of one run; also of one that has not ended.

    Raises:
        UserError: where a file is missing or broken
        BadMask: for a mask or confidence map that does not fit its image

    Example:
        >>> run = LabelRun.open(Path("out/labels"))
        >>> masks = {entry.key: run.mask(entry) for entry in run.entries()}
    """

    folder: Path
    classes: tuple[str, ...]
    images: Path  # the folder of the images
    fingerprint: str
    settings: dict[str, Any]  # what the labels depend on

    @classmethod
    def open(cls, folder: Path, images: Path | None = None) -> LabelRun:
        """Open the run in `folder`; `images` is where its images are now, if they were moved."""
        file = Path(folder) / "run.json"
        about = _present(_read_json(file))
        if about.get("schema") != SCHEMA:
            allowed = f"{SCHEMA}, {FORMER_SCHEMA}"
            raise UserError(f"{file} is of schema {about.get('schema')!r}", allowed=allowed, fix=HOW_TO_FIX)
        for key, kind in (("classes", list), ("images", dict), ("fingerprint", str), ("settings", dict)):
            if not isinstance(about.get(key), kind):
                raise UserError(f"{file} has no {key!r}", fix=HOW_TO_FIX)
        root = images or Path(about["images"].get("folder", ""))
        return cls(Path(folder), tuple(about["classes"]), root, about["fingerprint"], about["settings"])

    def entries(self) -> Iterator[Entry]:
        """The labelled images, one by one. Before the run has ended, an image that changed may come twice."""
        merged = self.folder / "manifest.jsonl"
        manifests = [merged] if merged.exists() else sorted((self.folder / ".manifests").glob("*.jsonl"))
        if not manifests:
            raise UserError(f"{self.folder} has no manifest", fix=HOW_TO_FIX)
        for manifest in manifests:
            yield from read_entries(manifest, self.fingerprint)

    def skipped(self) -> list[tuple[str, str]] | None:
        """(image, reason) of images without a label; None when the run has not ended."""
        path = self.folder / "summary.json"
        if not path.exists():
            return None
        skipped = _read_json(path).get("skipped")
        if not isinstance(skipped, list) or not all(isinstance(item, dict) for item in skipped):
            raise UserError(f"{path} has no list of skipped images", fix=HOW_TO_FIX)
        return [(str(item.get("image", item.get("picture"))), str(item.get("reason"))) for item in skipped]

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
        """uint8 [H, W]: class indices, and 255 for ignored pixels."""
        mask = _pixels(self.mask_path(entry), entry, ("P", "L"))
        wrong = mask[(mask >= len(self.classes)) & (mask != IGNORE_INDEX)]
        if wrong.size:
            raise BadMask(
                f"{self.mask_path(entry)} has label {wrong[0]}",
                allowed=f"0 to {len(self.classes) - 1}, {IGNORE_INDEX}",
            )
        return mask

    def confidence(self, entry: Entry) -> np.ndarray:
        """uint8 [H, W]: 255 times the confidence."""
        return _pixels(self.confidence_path(entry), entry, ("L",))


def _present(about: dict[str, Any]) -> dict[str, Any]:
    """run.json of the former schema, with the names of the present one."""
    if about.get("schema") != FORMER_SCHEMA:
        return about
    present = {**about, "schema": SCHEMA, "images": about.get("pictures")}
    if isinstance(about.get("settings"), dict):
        present["settings"] = {**about["settings"], "confidence": about["settings"].get("certainty", {})}
    return present


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
        content = read_json(path)
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} cannot be read ({problem})", fix=HOW_TO_FIX) from problem
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys", fix=HOW_TO_FIX)
    return content
