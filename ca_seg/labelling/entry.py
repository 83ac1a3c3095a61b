"""What a manifest says of one image and of the run: enough to trust a label, or to make it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca_seg.confidence.numpy_measures import class_confidence
from ca_seg.labelling.label import Label


@dataclass(frozen=True)
class Entry:
    """What is known of one labelled image."""

    key: str
    image: str  # its file, relative to the images' folder
    height: int
    width: int
    sha256: str  # of the image's file
    outputs: tuple[str, ...]  # files written, relative to the run's folder
    area: dict[str, int]  # class name -> pixels, for classes that have any
    confidence: dict[str, float]  # class name -> mean confidence; empty when the label has none
    seconds: float

    @classmethod
    def of(cls, label: Label, classes: Sequence[str], *, sha256: str, outputs: Sequence[str], seconds: float) -> Entry:
        """The entry of a label that has been written."""
        area = {classes[index]: int(label.areas[index]) for index in label.present}
        sure = {}
        if label.confidence is not None:
            means = class_confidence(label.mask, label.confidence, len(classes))
            sure = {classes[index]: round(float(means[index]), 6) for index in label.present}
        return cls(
            label.key, label.file_name, label.height, label.width, sha256, tuple(outputs), area, sure, round(seconds, 4)
        )


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """One short name for all that the labels depend on (backbone, words, thresholds ...), in any order of its keys.

    `settings` is what JSON can hold. 32 hex digits.
    """
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
