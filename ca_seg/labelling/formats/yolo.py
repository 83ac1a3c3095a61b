"""YOLO segmentation: one text file of polygons for each image.

labels/<key>.txt     one connected part per line: class index, then x y x y ... as fractions of the width and height
data.yaml            names, and where the images are expected: images/<key>.<ending>

Read as Ultralytics reads it at the image's own size (fractions times the size, truncated to whole numbers, and
`cv2.fillPoly`), a file gives exactly the same mask, with holes and single pixels: a hole is joined to the outside by a
bridge of no width (see `polygons`). What it loses:

- Which pixels were ignored: they are in no polygon, which a trainer takes for background.
- A corner is the middle of a rim pixel. A reader that takes polygons for exact areas, without the outline, loses at
  most half a pixel all round: only rim pixels, those with a neighbour outside the part.
- Ultralytics, when it trains, spreads 1,000 points over every polygon. That moves no pixel farther than to a neighbour
  of the rim. A polygon of more than 1,000 corners, of a very ragged part, is simplified there without a bound.

(Format: docs.ultralytics.com, "Instance Segmentation Datasets".)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml

from ca_seg.labelling.formats.polygons import polygons
from ca_seg.labelling.formats.regions import class_numbers
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output


@dataclass(frozen=True)
class Yolo:
    """Loses which pixels were ignored; see the head of this file.

    Args:
        exclude: classes without polygons, such as a background; the indices of the others stay
    """

    name: ClassVar[str] = "yolo"
    summary: ClassVar[str] = "YOLO segmentation polygons, holes bridged; exact but for what was ignored"
    needs_scores: ClassVar[bool] = False

    exclude: tuple[str, ...] = ()

    def open(self, folder: Path, classes: Sequence[str]) -> YoloWriter:
        output = Output.of(folder, classes)
        return YoloWriter(output, class_numbers(self.exclude, output.classes, "exclude"))


@dataclass(frozen=True)
class YoloWriter:
    output: Output
    exclude: frozenset[int]

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        size = np.array([label.width, label.height])
        lines = []
        for index in label.present:
            if index in self.exclude:
                continue
            for ring in polygons(label.mask == index):
                corners = (np.array(ring) + 0.5) / size  # pixel centres: rounding cannot reach the next pixel
                lines.append(" ".join([str(index), *(f"{number:.7f}" for number in corners.ravel())]) + "\n")
        return [self.output.text(label_path(label.key), "".join(lines))]

    def close(self) -> list[str]:
        content = {"train": "images", "val": "images", "names": dict(enumerate(self.output.classes))}
        return [self.output.text("data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False))]


def label_path(key: str) -> str:
    """Where Ultralytics looks for the labels of images/<key>.<ending>: the last folder "images" becomes "labels"."""
    before, _, after = f"/images/{key}".rpartition("/images/")
    return f"{before}/labels/{after}.txt".removeprefix("/")
