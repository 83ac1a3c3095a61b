"""Indexed PNG, which every tool reads, and ca_seg itself as a dataset.

masks/<key>.png     8-bit palette PNG, class index 0..K-1, 255 = ignore
classes.json        names by index, and 255 as the ignored id

Together with the images in images/ this is the dataset format "folder" (for images in one folder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ca_seg.labelling.formats.voc_colours import voc_palette
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output
from ca_seg.vocabulary import IGNORE_INDEX


@dataclass(frozen=True)
class Png:
    """Loses nothing."""

    name: ClassVar[str] = "png"
    summary: ClassVar[str] = "indexed PNG with a palette, 255 = ignore; exact"
    needs_scores: ClassVar[bool] = False

    def open(self, folder: Path, classes: Sequence[str]) -> PngWriter:
        return PngWriter(Output.of(folder, classes))


@dataclass(frozen=True)
class PngWriter:
    output: Output

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        return [self.output.png(f"masks/{label.key}.png", label.mask, voc_palette(len(self.output.classes)))]

    def close(self) -> list[str]:
        names = {str(index): name for index, name in enumerate(self.output.classes)}
        return [self.output.json("classes.json", {"ignore": [IGNORE_INDEX], "classes": names})]
