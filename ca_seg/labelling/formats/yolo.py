"""YOLO segmentation: one text file of polygons for each image.

labels/<key>.txt     one part a line: class index, then x y x y ... as shares of the width and height
data.yaml            names, and where the images are to lie: images/<key>.<ending>

What it loses. Read as Ultralytics reads it at the image's own size (shares times the size, cut to whole numbers, and
`cv2.fillPoly`), a file gives the mask again to the pixel, holes and single pixels too: a hole is joined to the outside
by a bridge of no width (see `polygons`). Three things are not held:

- Which pixels were ignored: they lie in no polygon, which a trainer takes for background.
- A corner is the middle of a rim pixel. A reader that takes polygons for exact areas, without the outline, loses at
  most half a pixel all round: only rim pixels, those with a neighbour outside the part.
- Ultralytics, when it trains, spreads 1,000 points over every polygon. That moves no pixel farther than to a neighbour
  of the rim; but a polygon of more than 1,000 corners, as of a very ragged part, is simplified there without a bound.

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

    Classes in `left_out`, such as a background, get no polygons; the indices of the others stay.
    """

    name: ClassVar[str] = "yolo"
    summary: ClassVar[str] = "YOLO segmentation polygons, holes bridged; exact but for what was ignored"
    needs_scores: ClassVar[bool] = False

    left_out: tuple[str, ...] = ()

    def open(self, folder: Path, classes: Sequence[str]) -> YoloWriter:
        output = Output.of(folder, classes)
        return YoloWriter(output, class_numbers(self.left_out, output.classes, "left_out"))


@dataclass(frozen=True)
class YoloWriter:
    output: Output
    left_out: frozenset[int]

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        size = np.array([label.width, label.height])
        lines = []
        for index in label.present:
            if index in self.left_out:
                continue
            for ring in polygons(label.mask == index):
                shares = (np.array(ring) + 0.5) / size  # the middle: rounding on the way cannot reach the next pixel
                lines.append(" ".join([str(index), *(f"{share:.7f}" for share in shares.ravel())]) + "\n")
        return [self.output.text(label_path(label.key), "".join(lines))]

    def close(self) -> list[str]:
        content = {"train": "images", "val": "images", "names": dict(enumerate(self.output.classes))}
        return [self.output.text("data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False))]


def label_path(key: str) -> str:
    """Where Ultralytics looks for the labels of images/<key>.<ending>: the last folder "images" becomes "labels"."""
    before, _, after = f"/images/{key}".rpartition("/images/")
    return f"{before}/labels/{after}.txt".removeprefix("/")
