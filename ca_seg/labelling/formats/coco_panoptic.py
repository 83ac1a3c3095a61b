"""COCO panoptic: a PNG of segment ids for each image, and one JSON file that says what each segment is.

panoptic/<key>.png     segment id = red + 256 * green + 256^2 * blue, 0 = void (ignored)
panoptic.json          images, annotations with segments_info, categories with isthing and color

Ids are unique within an image. (Format: cocodataset.org, "Data format", panoptic; the code of panopticapi.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ca_seg.labelling.formats.regions import Region, class_numbers, regions
from ca_seg.labelling.formats.voc_colours import voc_colours
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output


@dataclass(frozen=True)
class CocoPanoptic:
    """Loses nothing.

    Args:
        things: classes with one segment for each connected part (two touching objects are one part); all others are
            "stuff", with one segment for each image
    """

    name: ClassVar[str] = "coco_panoptic"
    summary: ClassVar[str] = "COCO panoptic PNG and JSON; exact"
    needs_scores: ClassVar[bool] = False

    things: tuple[str, ...] = ()

    def open(self, folder: Path, classes: Sequence[str]) -> CocoPanopticWriter:
        output = Output.of(folder, classes)
        return CocoPanopticWriter(output, class_numbers(self.things, output.classes, "things"))


@dataclass(frozen=True)
class CocoPanopticWriter:
    output: Output
    things: frozenset[int]

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        numbers, label_regions = regions(label, self.things, ())
        pixels = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        file = self.output.png(f"panoptic/{label.key}.png", pixels)
        image = {"file_name": label.file_name, "height": label.height, "width": label.width}
        segments = [_segment(region) for region in label_regions]
        self.output.piece(label, {"image": image, "file_name": f"{label.key}.png", "segments_info": segments})
        return [file]

    def close(self) -> list[str]:
        colours = voc_colours(len(self.output.classes)).tolist()
        categories = [
            {"id": index + 1, "name": name, "supercategory": "", "isthing": int(index in self.things), "color": colour}
            for index, (name, colour) in enumerate(zip(self.output.classes, colours, strict=True))
        ]
        content = {"images": self._images(), "annotations": self._annotations(), "categories": categories}
        return [self.output.stream("panoptic.json", {"info": {}, "licenses": [], **content})]

    def _images(self) -> Iterator[dict[str, Any]]:
        for number, (_, piece) in enumerate(self.output.pieces(), start=1):
            yield {"id": number, **piece["image"]}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        for number, (_, piece) in enumerate(self.output.pieces(), start=1):
            yield {"image_id": number, "file_name": piece["file_name"], "segments_info": piece["segments_info"]}


def _segment(region: Region) -> dict[str, Any]:
    return {
        "id": region.number,
        "category_id": region.class_index + 1,
        "area": region.area,
        "bbox": [region.left, region.top, region.width, region.height],
        "iscrowd": 0,
    }
