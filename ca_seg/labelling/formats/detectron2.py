"""detectron2 semantic segmentation: gray PNGs, and the dataset as detectron2's own list of dicts.

sem_seg/<key>.png     8-bit gray, class index 0..K-1, 255 = ignore (no palette: detectron2 reads masks as gray and
                      would turn its colours into shades)
dataset.json          [{file_name, sem_seg_file_name, height, width, image_id}, ...]; file_name is relative to the
                      images' folder, sem_seg_file_name to this folder
metadata.json         stuff_classes, stuff_colors, ignore_label: for MetadataCatalog.get(...).set(**...)

(Format: detectron2.readthedocs.io, "Use Custom Datasets".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ca_seg.labelling.formats.voc_colours import voc_colours
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output
from ca_seg.vocabulary import IGNORE_INDEX


@dataclass(frozen=True)
class Detectron2:
    """Loses nothing."""

    name: ClassVar[str] = "detectron2"
    summary: ClassVar[str] = "detectron2 sem_seg PNGs and dataset dicts; exact"
    needs_scores: ClassVar[bool] = False

    def open(self, folder: Path, classes: Sequence[str]) -> Detectron2Writer:
        return Detectron2Writer(Output.of(folder, classes))


@dataclass(frozen=True)
class Detectron2Writer:
    output: Output

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        file = self.output.png(f"sem_seg/{label.key}.png", label.mask)
        size = {"height": label.height, "width": label.width}
        self.output.piece(label, {"file_name": label.file_name, "sem_seg_file_name": file, **size})
        return [file]

    def close(self) -> list[str]:
        names = list(self.output.classes)
        metadata = {
            "stuff_classes": names,
            "stuff_colors": voc_colours(len(names)).tolist(),
            "ignore_label": IGNORE_INDEX,
        }
        return [
            self.output.stream_list("dataset.json", self._dicts()),
            self.output.json("metadata.json", metadata),
        ]

    def _dicts(self) -> Iterator[dict[str, Any]]:
        for key, piece in self.output.pieces():
            yield {**piece, "image_id": key}
