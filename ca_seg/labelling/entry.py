"""The line of a manifest for one labelled image: what is needed to trust the label, or to make it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ca_seg.confidence.threshold import class_confidence
from ca_seg.labelling.keys import check_relative
from ca_seg.labelling.label import Label


@dataclass(frozen=True)
class Entry:
    """One labelled image."""

    key: str
    image: str  # its file, relative to the images' folder
    height: int
    width: int
    sha256: str  # of the image's file
    outputs: tuple[str, ...]  # the label files, relative to the run's folder
    area: dict[str, int]  # class name -> pixels, for classes that have any
    confidence: dict[str, float]  # class name -> mean confidence; empty when the label has none
    seconds: float
    presence: float | None = None  # of the most present word, 0..1; None: not measured

    @classmethod
    def read(cls, content: dict[str, Any]) -> Entry:
        """The entry in a line of a manifest. Raises ValueError for values of other types or ranges, and for paths."""
        for name in ("key", "image", *content["outputs"]):
            check_relative(content[name] if name in ("key", "image") else name, f"its {name!r:.60}")
        sizes = content["height"], content["width"]
        fractions = [*content["confidence"].values(), *([] if content["presence"] is None else [content["presence"]])]
        holds = {
            "height and width": all(_is_count(size) and size > 0 for size in sizes),
            "sha256": isinstance(content["sha256"], str),
            "outputs": isinstance(content["outputs"], list),
            "area": all(_is_count(pixels) for pixels in content["area"].values()),
            "confidence and presence": all(_is_number(value) and 0 <= value <= 1 for value in fractions),
            "seconds": _is_number(content["seconds"]) and 0 <= content["seconds"] < math.inf,
        }
        wrong = [name for name, right in holds.items() if not right]
        if not wrong and any(pixels > sizes[0] * sizes[1] for pixels in content["area"].values()):
            wrong = ["area"]
        if wrong:
            raise ValueError(f"its {wrong[0]} cannot be right")
        return cls(**{**content, "outputs": tuple(content["outputs"])})

    @classmethod
    def of(
        cls,
        label: Label,
        classes: Sequence[str],
        *,
        sha256: str,
        outputs: Sequence[str],
        seconds: float,
        presence: float | None = None,
    ) -> Entry:
        """The entry of a label that has been written."""
        area = {classes[index]: int(label.areas[index]) for index in label.present}
        confidence = {}
        if label.confidence is not None:
            means = class_confidence(label.mask, label.confidence, len(classes))
            confidence = {classes[index]: round(float(means[index]), 6) for index in label.present}
        return cls(
            key=label.key,
            image=label.file_name,
            height=label.height,
            width=label.width,
            sha256=sha256,
            outputs=tuple(outputs),
            area=area,
            confidence=confidence,
            seconds=round(seconds, 4),
            presence=None if presence is None else round(presence, 6),
        )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
