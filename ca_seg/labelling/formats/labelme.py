"""labelme: one JSON file for each image, to correct labels by hand.

<key>.json       to be placed beside the images, or opened with `labelme --output`
labels.txt       the names, for `labelme --labels`

What it loses:

- A shape "mask" is a small image and loses nothing.
- A shape "polygon" can be edited corner by corner. Read as labelme reads it (`PIL.ImageDraw.polygon`), polygons give
  exactly the same mask, with holes and single pixels: a hole is joined to the outside by a bridge of no width (see
  `polygons`). A reader that takes polygons for exact areas, without the outline, loses at most half a pixel all round:
  only rim pixels, those with a neighbour outside the part.
- Either way an ignored pixel is in no shape, and cannot be told from a pixel of an excluded class.

(Format: the code of labelme, _label_file.py and utils/shape.py.)
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from ca_seg.errors import UserError
from ca_seg.labelling.formats.polygons import polygons
from ca_seg.labelling.formats.regions import class_numbers, regions
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output

VERSION = "5.5.0"  # the file format; "mask" came with 5.3


@dataclass(frozen=True)
class LabelMe:
    """Loses which pixels were ignored; see the head of this file.

    Args:
        shape: "polygon" gives polygons, "mask" a bitmap for each connected part
        exclude: classes without shapes, such as a background
    """

    name: ClassVar[str] = "labelme"
    summary: ClassVar[str] = "labelme JSON, polygons or masks; exact but for what was ignored"
    needs_scores: ClassVar[bool] = False

    shape: Literal["polygon", "mask"] = "polygon"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.shape not in ("polygon", "mask"):
            raise UserError(f"a labelme shape {self.shape!r}", allowed="'polygon' or 'mask'")

    def open(self, folder: Path, classes: Sequence[str]) -> LabelMeWriter:
        output = Output.of(folder, classes)
        return LabelMeWriter(output, self, class_numbers(self.exclude, output.classes, "exclude"))


@dataclass(frozen=True)
class LabelMeWriter:
    output: Output
    options: LabelMe
    exclude: frozenset[int]

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        shapes = self._polygons(label) if self.options.shape == "polygon" else self._masks(label)
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": list(shapes),
            "imagePath": PurePosixPath(label.file_name).name,
            "imageData": None,
            "imageHeight": label.height,
            "imageWidth": label.width,
        }
        return [self.output.text(f"{label.key}.json", json.dumps(content, ensure_ascii=False) + "\n")]

    def close(self) -> list[str]:
        return [self.output.text("labels.txt", "".join(f"{name}\n" for name in self.output.classes))]

    def _polygons(self, label: Label) -> Iterator[dict[str, Any]]:
        for index in label.present:
            if index in self.exclude:
                continue
            for ring in polygons(label.mask == index):
                yield self._shape(
                    index, "polygon", [[x + 0.5, y + 0.5] for x, y in ring]
                )  # labelme cuts off the fraction

    def _masks(self, label: Label) -> Iterator[dict[str, Any]]:
        numbers, label_regions = regions(label, range(len(self.output.classes)), self.exclude)
        for region in label_regions:
            right, bottom = region.left + region.width, region.top + region.height
            pixels = numbers[region.top : bottom, region.left : right] == region.number
            png = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(png, format="PNG")
            corners = [[float(region.left), float(region.top)], [float(right - 1), float(bottom - 1)]]
            bitmap = base64.b64encode(png.getvalue()).decode("ascii")
            yield {**self._shape(region.class_index, "mask", corners), "mask": bitmap}

    def _shape(self, index: int, kind: str, points: list[list[float]]) -> dict[str, Any]:
        name = self.output.classes[index]
        return {"label": name, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {}}
