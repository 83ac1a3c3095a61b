"""The label formats, by name, each with its default options. A new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.formats.coco import Coco
from ca_seg.labelling.formats.coco_panoptic import CocoPanoptic
from ca_seg.labelling.formats.cvat import Cvat
from ca_seg.labelling.formats.detectron2 import Detectron2
from ca_seg.labelling.formats.label_studio import LabelStudio
from ca_seg.labelling.formats.labelme import LabelMe
from ca_seg.labelling.formats.mmseg import MMSeg
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.formats.scores import Scores
from ca_seg.labelling.formats.yolo import Yolo
from ca_seg.labelling.label import LabelFormat

FORMATS: dict[str, LabelFormat] = {
    format.name: format
    for format in (
        Png(),
        Coco(),
        CocoPanoptic(),
        Yolo(),
        Detectron2(),
        MMSeg(),
        LabelMe(),
        LabelStudio(),
        Cvat(),
        Scores(),
    )
}


def list_formats() -> dict[str, str]:
    """The label formats: the name of each, and one line on what it writes and what it loses.

    Example:
        >>> list_formats()["coco"]
        'COCO instances JSON with run-length masks; exact'
    """
    return {name: format.summary for name, format in FORMATS.items()}


def formats_named(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, LabelFormat]:
    """Formats by name, with their options.

    Args:
        names: one or more names from `list_formats`, each once
        options: by format, options and their values: {"yolo": {"exclude": ["background"]}}

    Raises:
        UnknownName: for a format or an option that does not exist
        UserError: for no format, one that is named twice, and an option of the wrong type or value
    """
    if not names:
        raise UserError("formats is empty", allowed=", ".join(FORMATS), fix="give formats=[png]")
    formats: dict[str, LabelFormat] = {}
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
        if name in formats:
            raise UserError(f"the format {name!r} is named twice", fix="name it once")
        formats[name] = FORMATS[name]
    for name, values in options.items():
        if name not in formats:
            raise UnknownName("format in format_options", name, formats)
        formats[name] = _with_options(formats[name], values)
    return formats


def _with_options(format: LabelFormat, options: Mapping[str, Any]) -> LabelFormat:
    defaults = asdict(format)  # type: ignore[call-overload]  # every format is a dataclass
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name, value in values.items():
        if name not in defaults:
            raise UnknownName(f"option of {format.name}", name, defaults)
        kind = type(defaults[name])
        if type(value) is not kind:
            raise UserError(f"format_options.{format.name}.{name} is {options[name]!r}", allowed=f"a {kind.__name__}")
    return replace(format, **values)  # type: ignore[type-var]
