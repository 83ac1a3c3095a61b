"""OUT/summary.json: what a labelling run labelled and skipped, counted from its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ca_seg.labelling.manifest import read_entries
from ca_seg.labelling.statistics import LabelStatistics

SCHEMA = "ca_seg.labels.summary/2"


def summarise(
    manifest: Path,
    classes: Sequence[str],
    *,
    labelled: int,
    skipped: Sequence[tuple[str, str]],
    missing: int,
    seconds: float,
    unseen: Mapping[str, str] | None = None,
    presence: float | None = None,
) -> dict[str, Any]:
    """What summary.json holds; per class: image count, pixel count and mean confidence.

    The mean confidence of a class is None where no pixel has it, or where the labels have no confidence.

    Args:
        manifest: all images that have labels
        classes: names of all classes, in their order
        labelled: how many images this run labelled
        skipped: (image, reason) of the images that this run could not label
        missing: how many images the run did not come to: it was limited to a part
        seconds: that this run took
        unseen: phrases that training never taught, each with the nearest word that it taught; None: not known
        presence: the lowest presence of a likely word; None: presence was not measured
    """
    statistics = LabelStatistics(classes)
    absent: list[str] = []
    for entry in read_entries(manifest):
        statistics.add(entry)
        if presence is not None and entry.presence is not None and entry.presence < presence:
            absent.append(entry.image)
    rows = {row["class"]: row for row in statistics.table()}
    return {
        "schema": SCHEMA,
        "images": statistics.images,
        "labelled": labelled,
        "skipped": [{"image": image, "reason": reason} for image, reason in skipped],
        "missing": missing,
        "classes": {
            name: {key: rows[name][key] for key in ("images", "pixels", "mean_confidence")} for name in classes
        },
        "unseen": None if unseen is None else dict(unseen),
        "images_without_words": None if presence is None else absent,
        "ignored_pixels": statistics.pixels - int(statistics.class_pixels.sum()),
        "seconds": round(seconds, 3),
        "images_per_second": round(labelled / seconds, 3) if seconds > 0 else None,
    }
