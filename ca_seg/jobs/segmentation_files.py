"""The files of a segmented image: their names, and labels in the formats of `ca-seg label`, a folder for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ca_seg.errors import UnknownName
from ca_seg.optional import optional_imports

if TYPE_CHECKING:
    from ca_seg.jobs.segmentation import Segmentation

DEFAULT_FORMATS = ("overlay", "mask", "heatmaps", "json")


def default_file(image_id: str, name: str) -> str:
    """The file of a format of DEFAULT_FORMATS, relative to the folder."""
    return f"{image_id}_scores.json" if name == "json" else f"{image_id}_{name}.png"


def cutout_file(image_id: str, name: str) -> str:
    """The file of the pixels of a class, relative to the folder."""
    return f"{image_id}_cutout_{name.replace('/', '_')}.png"


def label_formats(formats: Sequence[str]) -> list[str]:
    """The formats that have a folder of their name, in which all images are."""
    return [name for name in formats if name not in DEFAULT_FORMATS]


def check_labels(folder: Path, formats: Sequence[str], classes: Sequence[str]) -> None:
    """Check that labels of these classes may be written, before the first of them is.

    Args:
        folder: has a folder for each format
        formats: their names; those of DEFAULT_FORMATS are no label formats
        classes: the names of the classes, in the order of their numbers

    Raises:
        UnknownName: for a format that there is not
        MissingExtra: where the libraries of label formats are not installed
        UserError: for a format's folder that has labels of another class list
    """
    names = label_formats(formats)
    if not names:
        return
    with optional_imports("a label format"):
        from ca_seg.labelling.class_list import check_class_list
        from ca_seg.labelling.registry import FORMATS
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, (*DEFAULT_FORMATS, *FORMATS))
        check_class_list(folder / name, classes)


def save_label(segmentation: Segmentation, folder: Path, name: str) -> list[Path]:
    """Write the label of one image into FOLDER/NAME, and the files of all images there anew; their paths.

    Raises UserError for a label that the format cannot hold, and for a folder with labels of another class list.
    """
    from ca_seg.labelling.class_list import write_class_list
    from ca_seg.labelling.label import Label
    from ca_seg.labelling.registry import FORMATS

    write_class_list(folder / name, segmentation.classes)
    writer = FORMATS[name].open(folder / name, segmentation.classes)
    key, mask = segmentation.image_id, segmentation.mask
    height, width = mask.shape
    scores = segmentation.probabilities if FORMATS[name].needs_scores else None
    file_name = segmentation.file_name or f"{key}.png"
    label = Label(key, file_name, height, width, mask, scores, segmentation.confidence)
    return [folder / name / file for file in (*writer.write(label), *writer.close())]
