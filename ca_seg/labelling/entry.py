"""The line of a manifest for one labelled image: what is needed to trust the label, or to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ca_seg.confidence.threshold import class_confidence
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
