"""OUT/summary.json: what a labelling run labelled and skipped, counted from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ca_seg.labelling.manifest import read_entries
from ca_seg.labelling.statistics import LabelStatistics

SCHEMA = "ca_seg.labels.summary/2"


def summarise(
    manifest: Path, classes: Sequence[str], *, labelled: int, skipped: Sequence[tuple[str, str]], seconds: float
) -> dict[str, Any]:
    """What summary.json holds; per class: image count, pixel count and mean confidence.

    The mean confidence of a class is None where no pixel has it, or where the labels have no confidence.

    Args:
        manifest: all images that have labels
        classes: names of all classes, in their order
        labelled: how many images this run labelled
        skipped: (image, reason) of the images that this run could not label
        seconds: that this run took
    """
    statistics = LabelStatistics(classes)
    for entry in read_entries(manifest):
        statistics.add(entry)
    rows = {row["class"]: row for row in statistics.table()}
    return {
        "schema": SCHEMA,
        "images": statistics.images,
        "labelled": labelled,
        "skipped": [{"image": image, "reason": reason} for image, reason in skipped],
        "classes": {
            name: {key: rows[name][key] for key in ("images", "pixels", "mean_confidence")} for name in classes
        },
        "ignored_pixels": statistics.pixels - int(statistics.class_pixels.sum()),
        "seconds": round(seconds, 3),
        "images_per_second": round(labelled / seconds, 3) if seconds > 0 else None,
    }
