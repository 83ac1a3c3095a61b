"""From what was predicted for a picture to its files and its line in the manifest, in the background.

Found ──► threshold ──► Label ──► every format, confidence PNG ──► manifest     one picture, one thread
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ca_seg.errors import BadMask, UserError
from ca_seg.labels.background import Background
from ca_seg.labels.confidence import ignore_below
from ca_seg.labels.confidence_png import write_confidence
from ca_seg.labels.entry import Entry
from ca_seg.labels.label import Label, LabelFormat
from ca_seg.labels.manifest import Manifest
from ca_seg.labels.output import Output
from ca_seg.labels.run_folder import PATIENCE

# a name that is too long, or both a file's and a folder's: the fault of one picture, not of the disk
ONE_PICTURES = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@dataclass(frozen=True, eq=False)
class Found:
    """What was predicted for one picture, in its own size."""

    key: str
    file_name: str
    sha256: str
    mask: np.ndarray  # uint8 [H, W]
    confidence: np.ndarray | None  # float32 [H, W]
    scores: np.ndarray | None  # float [K, H, W]
    seconds: float  # of computing


class Writing:
    """Writes the labels of one process of a run. `threshold` is one number, or one for each class [K].

    `skipped` has the pictures that could not be written for their own sake; anything else ends the run.
    """

    def __init__(
        self,
        out: Path,
        classes: Sequence[str],
        formats: Mapping[str, LabelFormat],
        *,
        threshold: float | np.ndarray | None = None,
        confidence: bool = True,
        threads: int = 1,
    ) -> None:
        self.out, self.classes, self.threshold, self.confidence = out, tuple(classes), threshold, confidence
        self.writers = {name: format.open(out / name, classes) for name, format in formats.items()}
        self.written, self.skipped = 0, list[tuple[str, str]]()
        self._output, self._background = Output.of(out, classes), Background(threads)
        self._manifest: Manifest | None = None
        self._one = threading.Lock()

    def open(self, manifest: Path, fingerprint: str) -> None:
        """Begin, when the folder is ready for this process."""
        self._manifest = Manifest(manifest, fingerprint, patience=PATIENCE)

    def keep(self, path: str, held: int, make: Callable[[], Found]) -> None:
        """Make and write a label in the background; waits where too many bytes are `held`.

        `path` is for messages. Raises the first error of any picture before.
        """
        self._background.submit(held, lambda: self._write(path, make))

    def close(self) -> None:
        """Wait until everything is written. Raises the first error."""
        try:
            self._background.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave what has not been begun."""
        self._background.abandon()
        if self._manifest is not None:
            self._manifest.close()

    def assemble(self) -> None:
        """Write the files of the whole dataset; one process does, when all have closed."""
        for writer in self.writers.values():
            writer.close()

    def _write(self, path: str, make: Callable[[], Found]) -> None:
        try:
            found = make()
            label, outputs = self._files(found)
        except UserError as problem:
            of_this_picture = isinstance(problem, BadMask)  # maps that are not finite
            if isinstance(problem.__cause__, OSError):
                of_this_picture = problem.__cause__.errno in ONE_PICTURES
            if not of_this_picture:
                raise
            with self._one:
                self.skipped.append((path, str(problem)))
            return
        entry = Entry.of(label, self.classes, sha256=found.sha256, outputs=outputs, seconds=found.seconds)
        with self._one:
            assert self._manifest is not None
            self._manifest.add(entry)
            self.written += 1

    def _files(self, found: Found) -> tuple[Label, list[str]]:
        mask = found.mask
        if self.threshold is not None:
            assert found.confidence is not None
            mask = ignore_below(mask, found.confidence, self.threshold)
        label = Label(found.key, found.file_name, *mask.shape, mask, found.scores, found.confidence)
        outputs = [f"{name}/{file}" for name, writer in self.writers.items() for file in writer.write(label)]
        return label, outputs + (write_confidence(self._output, label) if self.confidence else [])
