"""Labels of one process on their way to its files and its manifest, in the background.

make ──► Found ──► LabelFiles ──► manifest     one image, one thread
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ca_seg.errors import UserError
from ca_seg.labelling.label_files import LabelFiles, LabelPrediction, is_one_images
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.run_folder import PATIENCE
from ca_seg.labelling.thread_pool import Background


class Writing:
    """Writes the labels of one process of a run.

    `skipped` has the images that could not be written for their own sake; anything else ends the run.
    """

    def __init__(self, files: LabelFiles, *, threads: int = 1) -> None:
        self.files = files
        self.written, self.skipped = 0, list[tuple[str, str]]()
        self._background = Background(threads)
        self._manifest: Manifest | None = None
        self._one = threading.Lock()

    def open(self, manifest: Path, fingerprint: str) -> None:
        """Begin, when the folder is ready for this process."""
        self._manifest = Manifest(manifest, fingerprint, patience=PATIENCE)

    def keep(self, path: str, held: int, make: Callable[[], LabelPrediction]) -> None:
        """Make and write a label in the background; waits where too many bytes are `held`.

        `path` is for messages. Raises the first error of any image before.
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

    def _write(self, path: str, make: Callable[[], LabelPrediction]) -> None:
        try:
            entry = self.files.write(make())
        except UserError as problem:
            if not is_one_images(problem):
                raise
            with self._one:
                self.skipped.append((path, str(problem)))
            return
        with self._one:
            assert self._manifest is not None
            self._manifest.add(entry)
            self.written += 1
