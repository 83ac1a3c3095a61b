"""From what was predicted for an image to its files and its line for the manifest.

Found ──► threshold ──► Label ──► every format, confidence PNG ──► Entry
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ca_seg.confidence.threshold import ignore_below
from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.formats.confidence_png import write_confidence
from ca_seg.labelling.label import Label, LabelFormat
from ca_seg.labelling.output import Output

# a name that is too long, or both a file's and a folder's: the fault of one image, not of the disk
ONE_IMAGES = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """What was predicted for one image, in its own size."""

    key: str
    file_name: str
    sha256: str
    mask: np.ndarray  # uint8 [H, W]
    confidence: np.ndarray | None  # float32 [H, W]
    scores: np.ndarray | None  # float [K, H, W]
    seconds: float  # of computing


class LabelFiles:
    """The files of a run, below `out`. `threshold` is one number, or one for each class [K].

    Any thread and any process may write, each image once. It can be pickled.
    """

    def __init__(
        self,
        out: Path,
        classes: Sequence[str],
        formats: Mapping[str, LabelFormat],
        *,
        threshold: float | np.ndarray | None = None,
        confidence: bool = True,
    ) -> None:
        self.classes, self.threshold, self.confidence = tuple(classes), threshold, confidence
        self.writers = {name: format.open(out / name, classes) for name, format in formats.items()}
        self._output = Output.of(out, classes)

    def write(self, found: LabelPrediction) -> Entry:
        """All files of one image. Raises UserError, see `is_one_images`."""
        mask = found.mask
        if self.threshold is not None:
            assert found.confidence is not None
            mask = ignore_below(mask, found.confidence, self.threshold)
        label = Label(found.key, found.file_name, *mask.shape, mask, found.scores, found.confidence)
        outputs = [f"{name}/{file}" for name, writer in self.writers.items() for file in writer.write(label)]
        outputs += write_confidence(self._output, label) if self.confidence else []
        return Entry.of(label, self.classes, sha256=found.sha256, outputs=outputs, seconds=found.seconds)

    def assemble(self) -> None:
        """Write the files of the whole dataset; one process does, when everything else is written."""
        for writer in self.writers.values():
            writer.close()


def is_one_images(problem: UserError) -> bool:
    """Whether one image has this problem, and not the run: its maps are not finite, its name fits no file system."""
    if isinstance(problem.__cause__, OSError):
        return problem.__cause__.errno in ONE_IMAGES
    return isinstance(problem, BadMask)
