"""Instances of a class: the connected parts of its mask.

    cat cat  .  cat        two instances of "cat", numbers 1 and 2
    cat  .   .  cat

Things of one class that touch are one instance, and a thing that something else cuts in two is two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ca_seg.atomic import atomic_write
from ca_seg.errors import OutOfRange
from ca_seg.json_file import write_json
from ca_seg.refine.boxes_and_points import SMALLEST, Part, connected_parts

if TYPE_CHECKING:
    from ca_seg.jobs.segmentation import Segmentation

MAX_INSTANCES = 65535  # PNGs have 16 bits


@dataclass(frozen=True)
class Instance:
    """One connected part of a class.

    Args:
        class_name: of its class
        number: 1, 2, 3 ... in the order of classes, the largest of a class first
        box: x, y, width, height in pixels, as in COCO
        area: in pixels
        confidence: the mean over its pixels, 0..1
        part: its pixels
    """

    class_name: str
    number: int
    box: tuple[int, int, int, int]
    area: int
    confidence: float
    part: Part

    def mask(self, height: int, width: int) -> np.ndarray:
        """Its pixels, bool [height, width], for the size of the image."""
        mask = np.zeros((height, width), bool)
        mask[self.part.rows, self.part.columns] = self.part.pixels
        return mask

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if name != "part"}


def instances(segmentation: Segmentation, *, smallest: float = SMALLEST) -> list[Instance]:
    """The connected parts (8 neighbours) of all classes but the background.

    Args:
        segmentation: of one image
        smallest: parts below this fraction of the image are left out, 0..1

    Raises:
        OutOfRange: for another fraction, and for more than 65,535 instances
        MissingExtra: without scipy
    """
    if not 0 <= smallest <= 1:
        raise OutOfRange(f"smallest is {smallest}", allowed="0 to 1, a fraction of the image")
    result: list[Instance] = []
    for index, name in enumerate(segmentation.classes):
        if index == segmentation.background:
            continue
        for part in connected_parts(segmentation.mask == index, smallest=smallest):
            rows, columns = part.rows, part.columns
            box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            confidence = float(segmentation.confidence[rows, columns][part.pixels].mean())
            result.append(Instance(name, len(result) + 1, box, part.area, confidence, part))
    if len(result) > MAX_INSTANCES:
        raise OutOfRange(f"{len(result)} instances", allowed=f"up to {MAX_INSTANCES}", fix="give a larger `smallest`")
    return result


def instance_files(image_id: str) -> tuple[str, str]:
    """The files of `save_instances`, relative to the folder."""
    return f"{image_id}_instances.png", f"{image_id}_instances.json"


def save_instances(segmentation: Segmentation, folder: str | Path, *, smallest: float = SMALLEST) -> list[Path]:
    """Write ID_instances.png (16 bits: the number of each pixel's instance, 0 for none) and ID_instances.json."""
    numbers = np.zeros(segmentation.mask.shape, np.uint16)
    entries = instances(segmentation, smallest=smallest)
    for entry in entries:
        numbers[entry.part.rows, entry.part.columns][entry.part.pixels] = entry.number
    picture, table = (Path(folder) / file for file in instance_files(segmentation.image_id))
    with atomic_write(picture) as part:
        Image.fromarray(numbers).save(part, format="PNG")
    write_json(table, {"image": segmentation.image_id, "instances": [entry.as_dict() for entry in entries]})
    return [picture, table]
