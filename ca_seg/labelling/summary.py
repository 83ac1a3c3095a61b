"""OUT/summary.json: what a labelling run came to, counted from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ca_seg.labelling.manifest import read_entries

SCHEMA = "ca_seg.labels.summary/1"


def summarise(
    manifest: Path, classes: Sequence[str], *, labelled: int, skipped: Sequence[tuple[str, str]], seconds: float
) -> dict[str, Any]:
    """`labelled` images of the manifest are this run's, which took `seconds`; `skipped` are (image, reason).

    Of each class the images and pixels that have it, and the mean confidence of its pixels (None where there are
    none, or labels have no confidence).
    """
    images, pixels, sure = ({name: 0.0 for name in classes} for _ in range(3))
    done = whole = 0
    for entry in read_entries(manifest):
        done += 1
        whole += entry.height * entry.width
        for name, area in entry.area.items():
            images[name] += 1
            pixels[name] += area
            sure[name] += area * entry.confidence.get(name, float("nan"))
    means = {name: sure[name] / pixels[name] if pixels[name] else None for name in classes}
    return {
        "schema": SCHEMA,
        "images": done,
        "labelled": labelled,
        "skipped": [{"image": image, "reason": reason} for image, reason in skipped],
        "classes": {
            name: {
                "images": int(images[name]),
                "pixels": int(pixels[name]),
                "mean_confidence": None if mean is None or mean != mean else round(mean, 6),
            }
            for name, mean in means.items()
        },
        "ignored_pixels": whole - int(sum(pixels.values())),
        "seconds": round(seconds, 3),
        "images_per_second": round(labelled / seconds, 3) if seconds > 0 else None,
    }
