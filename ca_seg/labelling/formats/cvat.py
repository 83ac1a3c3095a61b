"""CVAT for images 1.1: one XML file, masks as run lengths within their boxes.

annotations.xml     for "Upload annotations" of a task whose images have the same names

A mask's "rle" counts pixels in reading order within its box, those outside the mask first. (Format: docs.cvat.ai, "XML
annotation format", version 1.1, and the CVAT reader of datumaro.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar
from xml.sax.saxutils import escape, quoteattr

from ca_seg.labelling.formats.regions import Per, check_per, class_numbers, regions, runs
from ca_seg.labelling.formats.voc_colours import voc_colours
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output


@dataclass(frozen=True)
class Cvat:
    """Loses which pixels were ignored: they are in no mask.

    Args:
        per: "class" gives one mask for each class of an image, "part" one for each connected part
        exclude: classes without masks, such as a background
    """

    name: ClassVar[str] = "cvat"
    summary: ClassVar[str] = "CVAT for images 1.1 XML with masks; exact but for what was ignored"
    needs_scores: ClassVar[bool] = False

    per: Per = "class"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_per(self.per)

    def open(self, folder: Path, classes: Sequence[str]) -> CvatWriter:
        output = Output.of(folder, classes)
        return CvatWriter(output, self, class_numbers(self.exclude, output.classes, "exclude"))


@dataclass(frozen=True)
class CvatWriter:
    output: Output
    options: Cvat
    exclude: frozenset[int]

    def write(self, label: Label) -> list[str]:
        count = len(self.output.classes)
        label.check(count)
        numbers, label_regions = regions(label, range(count) if self.options.per == "part" else (), self.exclude)
        masks = []
        for region in label_regions:
            rows = slice(region.top, region.top + region.height)
            columns = slice(region.left, region.left + region.width)
            ((_, counts),) = runs((numbers[rows, columns] == region.number).ravel().astype(int))
            box = {name: str(getattr(region, name)) for name in ("left", "top", "width", "height")}
            masks.append(
                {
                    "label": self.output.classes[region.class_index],
                    "source": "auto",
                    "occluded": "0",
                    "rle": ", ".join(map(str, counts)),
                    **box,
                    "z_order": "0",
                }
            )
        image = {"name": label.file_name, "width": str(label.width), "height": str(label.height)}
        self.output.piece(label, {"image": image, "masks": masks})
        return []

    def close(self) -> list[str]:
        lines = chain(self._head(), self._images(), ["</annotations>\n"])
        return [self.output.stream_lines("annotations.xml", lines)]

    def _head(self) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task><labels>\n'
        for name, rgb in zip(self.output.classes, voc_colours(len(self.output.classes)).tolist(), strict=True):
            colour = bytes(rgb).hex()
            yield f"<label><name>{escape(name)}</name><color>#{colour}</color><type>mask</type><attributes/></label>\n"
        yield "</labels></task></meta>\n"

    def _images(self) -> Iterator[str]:
        for number, (_, piece) in enumerate(self.output.pieces()):
            yield f"<image {_attributes({'id': str(number), **piece['image']})}>\n"
            for mask in piece["masks"]:
                yield f"<mask {_attributes(mask)}></mask>\n"
            yield "</image>\n"


def _attributes(values: dict[str, str]) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())
