"""From the prediction of one image to its files and its line in the manifest.

LabelPrediction ──► threshold ──► Label ──► every format, confidence PNG ──► Entry
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

# the name is too long, or is that of a file and of a folder: the fault of one image and not of the disk
NAME_ERRORS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """What was predicted for one image, in its own size."""

    key: str
    file_name: str
    sha256: str  # of the image's file
    mask: np.ndarray  # uint8 [H, W]
    confidence: np.ndarray | None  # float32 [H, W]
    scores: np.ndarray | None  # float [K, H, W]
    presence: float | None  # of the most present word, 0..1; None: not measured
    seconds: float  # that it took to compute


class LabelFiles:
    """Writes the files of a run, from any thread and any process. It can be pickled.

    Args:
        out: the run's folder
        classes: names of the K classes
        formats: by the names of their folders
        threshold: pixels below this confidence are ignored: one number, one for each class [K], or None
        confidence: whether to write confidence maps
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

    def write(self, prediction: LabelPrediction) -> Entry:
        """Write all files of one image. Raises UserError; see `concerns_one_image`."""
        mask = prediction.mask
        if self.threshold is not None:
            assert prediction.confidence is not None
            mask = ignore_below(mask, prediction.confidence, self.threshold)
        height, width = mask.shape
        label = Label(
            prediction.key, prediction.file_name, height, width, mask, prediction.scores, prediction.confidence
        )
        outputs = [f"{name}/{file}" for name, writer in self.writers.items() for file in writer.write(label)]
        outputs += write_confidence(self._output, label) if self.confidence else []
        return Entry.of(
            label,
            self.classes,
            sha256=prediction.sha256,
            outputs=outputs,
            presence=prediction.presence,
            seconds=prediction.seconds,
        )

    def assemble(self) -> None:
        """Write the files of the whole dataset; one process does so, when all images are written."""
        for writer in self.writers.values():
            writer.close()


def concerns_one_image(problem: UserError) -> bool:
    """Whether an error is about one image and not the run: its maps are not finite, or its name fits no file system."""
    if isinstance(problem.__cause__, OSError):
        return problem.__cause__.errno in NAME_ERRORS
    return isinstance(problem, BadMask)
