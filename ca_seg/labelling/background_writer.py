"""Writes the labels of one process in background threads, so that the backbone need not wait for the disk.

prediction ──► files of all formats ──► line of the manifest      one image in one thread
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ca_seg.errors import UserError
from ca_seg.folder_lock import PATIENCE
from ca_seg.labelling.label_files import LabelFiles, LabelPrediction, concerns_one_image
from ca_seg.labelling.manifest import Manifest
from ca_seg.thread_pool import BoundedThreadPool


class BackgroundWriter:
    """Writes labels to their files and to the manifest of this process.

    An image that cannot be written for a reason of its own, such as its name, goes into `skipped`. Any other error
    ends the run.
    """

    def __init__(self, files: LabelFiles, *, threads: int = 1) -> None:
        self.files = files
        self.written, self.skipped = 0, list[tuple[str, str]]()
        self._pool = BoundedThreadPool(threads)
        self._manifest: Manifest | None = None
        self._lock = threading.Lock()

    def open(self, manifest: Path, fingerprint: str) -> None:
        """Open the manifest of this process; to be called when the folder is ready, before `save`."""
        self._manifest = Manifest(manifest, fingerprint, patience=PATIENCE)

    def save(self, path: str, size: int, predict: Callable[[], LabelPrediction]) -> None:
        """Have a label made and written; waits while too many bytes wait to be written.

        Args:
            path: of the image, for messages
            size: bytes that `predict` holds until it has been called
            predict: gives the label; called in a thread

        Raises:
            Exception: the first error of any image before
        """
        self._pool.submit(size, lambda: self._write(path, predict))

    def close(self) -> None:
        """Wait until everything is written. Raises the first error."""
        try:
            self._pool.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop without writing what has not been started."""
        self._pool.abandon()
        if self._manifest is not None:
            self._manifest.close()

    def _write(self, path: str, predict: Callable[[], LabelPrediction]) -> None:
        try:
            entry = self.files.write(predict())
        except UserError as problem:
            if not concerns_one_image(problem):
                raise
            with self._lock:
                self.skipped.append((path, str(problem)))
            return
        with self._lock:
            assert self._manifest is not None
            self._manifest.add(entry)
            self.written += 1
