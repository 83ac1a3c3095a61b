"""MMSegmentation: masks in ann_dir beside the images in img_dir, and the dataset's meta information.

ann_dir/<key>.png        8-bit gray, class index 0..K-1, 255 = ignore
splits/<ending>.txt      the keys of the images with this ending, one per line: `ann_file` of a BaseSegDataset, which
                         has one `img_suffix`
dataset_meta.json        metainfo (classes, palette), img_suffixes, seg_map_suffix, reduce_zero_label, ignore_index

The images go into img_dir/<key>.<ending>. (Format: mmsegmentation.readthedocs.io, "Customize Datasets".)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TextIO

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError
from ca_seg.labelling.formats.voc_colours import voc_colours
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output
from ca_seg.vocabulary import IGNORE_INDEX


@dataclass(frozen=True)
class MMSeg:
    """Loses nothing."""

    name: ClassVar[str] = "mmseg"
    summary: ClassVar[str] = "MMSegmentation ann_dir and meta information; exact"
    needs_scores: ClassVar[bool] = False

    def open(self, folder: Path, classes: Sequence[str]) -> MMSegWriter:
        return MMSegWriter(Output.of(folder, classes))


@dataclass(frozen=True)
class MMSegWriter:
    output: Output

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        if label.key != label.key.strip():  # its list of images is read with the spaces stripped
            raise UserError(f"MMSegmentation cannot read the name {label.file_name!r}", allowed="no space at its ends")
        file = self.output.png(f"ann_dir/{label.key}.png", label.mask)
        self.output.piece(label, {"ending": label.ending})
        return [file]

    def close(self) -> list[str]:
        splits = self._write_splits()
        names = list(self.output.classes)
        meta = {
            "metainfo": {"classes": names, "palette": voc_colours(len(names)).tolist()},
            "img_suffixes": sorted(splits),
            "seg_map_suffix": ".png",
            "reduce_zero_label": False,
            "ignore_index": IGNORE_INDEX,
        }
        return [*sorted(splits.values()), self.output.json("dataset_meta.json", meta)]

    def _write_splits(self) -> dict[str, str]:
        """Write one list of keys for each ending; returns the files by ending."""
        files: dict[str, TextIO] = {}
        names: dict[str, str] = {}
        with ExitStack() as stack:
            for key, piece in self.output.pieces():
                ending = piece["ending"]
                if ending not in files:
                    names[ending] = f"splits/{ending[1:]}.txt"
                    part = stack.enter_context(atomic_write(self.output.path(names[ending])))
                    files[ending] = stack.enter_context(open(part, "w", encoding="utf-8", newline="\n"))
                files[ending].write(f"{key}\n")
        return names
