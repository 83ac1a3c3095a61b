"""The files of an answer, to download."""

from __future__ import annotations

from pathlib import Path

from ca_seg.viewer.answer import Answer

FORMATS = ("mask", "overlay", "heatmaps", "json", "coco")  # on the page; names of `Segmentation.save`
CUTOUT = "cut-out"


def export(answer: Answer, folder: Path, formats: tuple[str, ...] = FORMATS, cutout: str | None = None) -> list[Path]:
    """Write files as `ca_seg.segment(...).save` does.

    Args:
        answer: what is on the page
        folder: an empty one
        formats: names of `Segmentation.save`
        cutout: the class whose pixels are written as a transparent PNG; None: no class

    Raises UnknownName for a format or a class that there is not, MissingExtra for a library that is not installed.
    """
    paths = answer.segmentation.save(folder, formats)
    if cutout is not None:
        paths.append(answer.segmentation.save_cutout(cutout, folder))
    return [path for path in paths if path.is_file()]
