"""What a run labelled: how often each class, how large, how sure. Counted image by image, in fixed memory.

entries of the manifest   ──►  images, pixels, areas, mean confidences        exact, of the whole run
masks and confidence maps ──►  pixels by confidence, in steps of 0.01         of the images that were given
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ca_seg.errors import UserError
from ca_seg.labelling.entry import Entry
from ca_seg.vocabulary import IGNORE_INDEX

SCHEMA = "ca_seg.label_statistics/1"
AREAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # edges of the histogram: a class's share of an image
STEPS = 101  # levels of confidence: 0.00, 0.01 ... 1.00
NAMED = 50  # images without a label that are named


def confidence_level(gray: np.ndarray) -> np.ndarray:
    """A confidence map, uint8 0..255, in whole percent, rounded down: level < 100 t just where confidence < t."""
    return (gray.astype(np.uint16) * 100 // 255).astype(np.uint8)


class LabelStatistics:
    """Of a run of K classes."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._index = {name: index for index, name in enumerate(self.classes)}
        count = len(self.classes)
        self.images, self.pixels, self.sampled = 0, 0, 0
        self.class_images, self.class_pixels = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.areas = np.zeros((count, len(AREAS) - 1), np.int64)
        self.levels = np.zeros((count, STEPS), np.int64)  # labelled pixels of the sampled images
        self._sure, self._sure_pixels = np.zeros(count), np.zeros(count, np.int64)
        self.without_label, self.without_label_named = 0, []

    def add(self, entry: Entry) -> None:
        """Raises UserError for a class that the run does not have."""
        size = entry.height * entry.width
        self.images += 1
        self.pixels += size
        if not entry.area:
            self.without_label += 1
            if len(self.without_label_named) < NAMED:
                self.without_label_named.append(entry.image)
        for name, area in entry.area.items():
            if name not in self._index:
                raise UserError(f"{entry.key} has the class {name!r}, which the run does not have")
            index = self._index[name]
            self.class_images[index] += 1
            self.class_pixels[index] += area
            self.areas[index, np.searchsorted(AREAS[1:-1], area / size, side="right")] += 1
            if name in entry.confidence:
                self._sure[index] += area * entry.confidence[name]
                self._sure_pixels[index] += area

    def add_pixels(self, mask: np.ndarray, confidence: np.ndarray) -> None:
        """An image of the sample: uint8 [H, W] class indices, and uint8 [H, W] 255 times the confidence."""
        seen = mask != IGNORE_INDEX
        place = mask[seen].astype(np.int64) * STEPS + confidence_level(confidence[seen])
        self.levels += np.bincount(place, minlength=self.levels.size).reshape(self.levels.shape)
        self.sampled += 1

    @property
    def mean_confidence(self) -> np.ndarray:
        """Of the labelled pixels of each class, float64 [K]; nan without any."""
        return np.divide(
            self._sure, self._sure_pixels, out=np.full(len(self.classes), np.nan), where=self._sure_pixels > 0
        )

    def table(self) -> list[dict[str, Any]]:
        """A row for each class, most pixels first; `share` is of the labelled pixels."""
        labelled, sure = max(1, int(self.class_pixels.sum())), self.mean_confidence
        return [
            {
                "class": self.classes[i],
                "images": int(self.class_images[i]),
                "pixels": int(self.class_pixels[i]),
                "share": round(float(self.class_pixels[i] / labelled), 6),
                "mean_confidence": None if np.isnan(sure[i]) else round(float(sure[i]), 6),
            }
            for i in np.argsort(-self.class_pixels, kind="stable").tolist()
        ]

    def as_json(self, skipped: Sequence[tuple[str, str]] | None) -> dict[str, Any]:
        """What statistics.json holds; `skipped` None: the run has not come to its end."""
        histograms = {
            self.classes[i]: {"areas": self.areas[i].tolist(), "confidence": self.levels[i].tolist()}
            for i in np.flatnonzero(self.class_images).tolist()
        }
        return {
            "schema": SCHEMA,
            "images": self.images,
            "pixels": self.pixels,
            "labelled_pixels": int(self.class_pixels.sum()),
            "images_without_label": self.without_label,
            "some_images_without_label": self.without_label_named,
            "finished": skipped is not None,
            "skipped": [list(pair) for pair in skipped or []],
            "classes": self.table(),
            "area_edges": list(AREAS),
            "confidence_sampled_images": self.sampled,
            "areas": self.areas.sum(axis=0).tolist(),
            "confidence": self.levels.sum(axis=0).tolist(),
            "histograms": histograms,
        }

    def as_csv(self) -> str:
        """The table of classes, for a spreadsheet."""
        rows = self.table()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
