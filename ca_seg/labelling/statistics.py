"""How often each class was labelled, how large it is and how confident the labels are; counted in fixed memory.

entries of the manifest   ──►  images, pixels, areas, mean confidences     exact, of the whole run
masks and confidence maps ──►  pixels by confidence, in steps of 0.01      of a sample of the images
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

SCHEMA = "ca_seg.label_statistics/2"
AREAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # edges of the histogram: the fraction of an image
STEPS = 101  # levels of confidence: 0.00, 0.01 ... 1.00
MAX_NAMED = 50  # images without a label that are named


def confidence_level(gray: np.ndarray) -> np.ndarray:
    """A confidence map, uint8 0..255, in whole percent, rounded down: level < 100 t exactly where confidence < t."""
    return (gray.astype(np.uint16) * 100 // 255).astype(np.uint8)


class LabelStatistics:
    """Counts over the images of a run of K classes.

    Attributes:
        images: number of images
        pixels: number of their pixels, with or without a label
        sampled: number of images that were given to `add_pixels`
        class_images, class_pixels: per class: images and pixels that have it, int64 [K]
        areas: per class: histogram of the fraction of an image that it covers, int64 [K, 7]
        levels: per class: labelled pixels of the sampled images by confidence, int64 [K, 101]
        without_label: number of images in which no pixel has a label; `without_label_named` names the first
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._index = {name: index for index, name in enumerate(self.classes)}
        count = len(self.classes)
        self.images, self.pixels, self.sampled = 0, 0, 0
        self.class_images, self.class_pixels = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.areas = np.zeros((count, len(AREAS) - 1), np.int64)
        self.levels = np.zeros((count, STEPS), np.int64)
        self._confidence, self._confidence_pixels = np.zeros(count), np.zeros(count, np.int64)
        self.without_label = 0
        self.without_label_named: list[str] = []

    def add(self, entry: Entry) -> None:
        """Count an image. Raises UserError for a class that the run does not have."""
        size = entry.height * entry.width
        self.images += 1
        self.pixels += size
        if not entry.area:
            self.without_label += 1
            if len(self.without_label_named) < MAX_NAMED:
                self.without_label_named.append(entry.image)
        for name, area in entry.area.items():
            if name not in self._index:
                raise UserError(f"{entry.key} has the class {name!r}, which the run does not have")
            index = self._index[name]
            self.class_images[index] += 1
            self.class_pixels[index] += area
            self.areas[index, np.searchsorted(AREAS[1:-1], area / size, side="right")] += 1
            if name in entry.confidence:
                self._confidence[index] += area * entry.confidence[name]
                self._confidence_pixels[index] += area

    def add_pixels(self, mask: np.ndarray, confidence: np.ndarray) -> None:
        """Count the pixels of an image of the sample.

        Args:
            mask: class indices, uint8 [H, W]
            confidence: 255 times the confidence, uint8 [H, W]
        """
        labelled = mask != IGNORE_INDEX
        cell = mask[labelled].astype(np.int64) * STEPS + confidence_level(confidence[labelled])
        self.levels += np.bincount(cell, minlength=self.levels.size).reshape(self.levels.shape)
        self.sampled += 1

    @property
    def mean_confidence(self) -> np.ndarray:
        """Per class: the mean confidence of its labelled pixels, float64 [K]; nan without any."""
        unknown = np.full(len(self.classes), np.nan)
        pixels = self._confidence_pixels
        return np.divide(self._confidence, pixels, out=unknown, where=pixels > 0)

    def table(self) -> list[dict[str, Any]]:
        """A row for each class, most pixels first; `fraction` is of the labelled pixels."""
        labelled, confidence = max(1, int(self.class_pixels.sum())), self.mean_confidence
        return [
            {
                "class": self.classes[i],
                "images": int(self.class_images[i]),
                "pixels": int(self.class_pixels[i]),
                "fraction": round(float(self.class_pixels[i] / labelled), 6),
                "mean_confidence": None if np.isnan(confidence[i]) else round(float(confidence[i]), 6),
            }
            for i in np.argsort(-self.class_pixels, kind="stable").tolist()
        ]

    def as_json(self, skipped: Sequence[tuple[str, str]] | None) -> dict[str, Any]:
        """What statistics.json holds; `skipped` is None while the run has not ended."""
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
