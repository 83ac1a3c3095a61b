"""COCO instances: one JSON file, masks as run lengths, so holes and single pixels are kept.

annotations.json     images, annotations, categories (id = class index + 1, for 0 is no id in COCO)

Images are numbered from 1 in the order of their keys. A pixel in no annotation is ignored; {"unannotated": "ignore"}
in "info" says so to a reader that would take it for background, unless the background has no annotations. Where the
label has a confidence, the "score" of an annotation is its mean, as in COCO's result files. (Format: cocodataset.org,
"Data format".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pycocotools import mask as coco_mask

from ca_seg.labelling.formats.regions import Per, check_per, class_numbers, regions, runs
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output
from ca_seg.vocabulary import is_background


@dataclass(frozen=True)
class Coco:
    """Loses nothing.

    Args:
        per: "class" gives one annotation for each class of an image, "part" one for each connected part
        compressed: write COCO's run-length string, else a list of numbers
        exclude: classes without annotations, such as a background; their pixels look like ignored ones
    """

    name: ClassVar[str] = "coco"
    summary: ClassVar[str] = "COCO instances JSON with run-length masks; exact"
    needs_scores: ClassVar[bool] = False

    per: Per = "class"
    compressed: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_per(self.per)

    def open(self, folder: Path, classes: Sequence[str]) -> CocoWriter:
        output = Output.of(folder, classes)
        return CocoWriter(output, self, class_numbers(self.exclude, output.classes, "exclude"))


@dataclass(frozen=True)
class CocoWriter:
    output: Output
    options: Coco
    exclude: frozenset[int]

    def write(self, label: Label) -> list[str]:
        count = len(self.output.classes)
        label.check(count)
        split = range(count) if self.options.per == "part" else ()
        numbers, label_regions = regions(label, split, self.exclude)
        size = [label.height, label.width]
        annotations = []
        for region, (_, counts) in zip(label_regions, runs(numbers.ravel(order="F")), strict=True):
            mask: dict[str, Any] = {"size": size, "counts": counts}
            if self.options.compressed:
                mask["counts"] = coco_mask.frPyObjects([mask], *size)[0]["counts"].decode("ascii")
            annotation = {
                "category_id": region.class_index + 1,
                "segmentation": mask,
                "area": region.area,
                "bbox": [region.left, region.top, region.width, region.height],
                "iscrowd": 0,
            }
            annotations.append(annotation if region.confidence is None else {**annotation, "score": region.confidence})
        image = {"file_name": label.file_name, "height": label.height, "width": label.width}
        self.output.piece(label, {"image": image, "annotations": annotations})
        return []

    def close(self) -> list[str]:
        categories = [
            {"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(self.output.classes)
        ]
        no_background = any(is_background(self.output.classes[index]) for index in self.exclude)
        info = {} if no_background else {"unannotated": "ignore"}
        content = {"images": self._images(), "annotations": self._annotations(), "categories": categories}
        return [self.output.stream("annotations.json", {"info": info, "licenses": [], **content})]

    def _images(self) -> Iterator[dict[str, Any]]:
        for number, (_, piece) in enumerate(self.output.pieces(), start=1):
            yield {"id": number, **piece["image"]}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for image, (_, piece) in enumerate(self.output.pieces(), start=1):
            for annotation in piece["annotations"]:
                number += 1
                yield {"id": number, "image_id": image, **annotation}
