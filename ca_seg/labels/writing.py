"""Labels of one process on their way to its files and its manifest, in the background.

make ──► Found ──► LabelFiles ──► manifest     one picture, one thread
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ca_seg.errors import UserError
from ca_seg.labels.background import Background
from ca_seg.labels.label_files import Found, LabelFiles, is_one_pictures
from ca_seg.labels.manifest import Manifest
from ca_seg.labels.run_folder import PATIENCE


class Writing:
    """Writes the labels of one process of a run.

    `skipped` has the pictures that could not be written for their own sake; anything else ends the run.
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

    def _write(self, path: str, make: Callable[[], Found]) -> None:
        try:
            entry = self.files.write(make())
        except UserError as problem:
            if not is_one_pictures(problem):
                raise
            with self._one:
                self.skipped.append((path, str(problem)))
            return
        with self._one:
            assert self._manifest is not None
            self._manifest.add(entry)
            self.written += 1
