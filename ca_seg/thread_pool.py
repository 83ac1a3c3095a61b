"""Threads with a bounded queue: files are written, or masks scored, while the next images are computed.

submit(size, work) ──► at most `max_bytes` in the queue ──► threads
  waits while it is full                                      an error is raised by the next submit, or by close
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ca_seg.errors import OutOfRange

MAX_BYTES = 2**28  # of labels or maps that wait
MAX_THREADS = 4


def threads_beside(device: str) -> int:
    """How many threads to write with while a backbone runs on a device.

    Threads take turns at Python's lock, and each that waits for it delays the backbone. On a CPU they also take its
    cores, so there is one thread for every four cores.

    Args:
        device: the type of the backbone's device: "cuda", "cpu" ...
    """
    return MAX_THREADS if device != "cpu" else max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 4))


class BoundedThreadPool:
    """A thread pool that holds at most `max_bytes` of work, so that memory does not grow with the run.

    After the first error no further work is started.
    """

    def __init__(self, threads: int = 1, max_bytes: int = MAX_BYTES) -> None:
        if threads < 1:
            raise OutOfRange(f"{threads} threads in the background", allowed="1 or more")
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._max_bytes, self._bytes = max_bytes, 0
        self._change = threading.Condition()
        self._error: Exception | None = None

    def submit(self, size: int, work: Callable[[], None]) -> None:
        """Have `work`, which holds `size` bytes (1 or more), done by a thread; waits while there is no room for it.

        Work that is larger than the limit waits until it is alone. Raises the first error of any work so far.
        """
        with self._change:
            self._change.wait_for(lambda: self._error or not self._bytes or self._bytes + size <= self._max_bytes)
            self._raise()
            self._bytes += size
        self._pool.submit(self._run, size, work)

    def wait(self) -> None:
        """Wait until all work so far is done; raises the first error."""
        with self._change:
            self._change.wait_for(lambda: not self._bytes)
            self._raise()

    def close(self) -> None:
        """Wait until all work is done; raises the first error."""
        self._pool.shutdown(wait=True)
        self._raise()

    def abandon(self) -> None:
        """Start no further work, and wait for what is running."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, size: int, work: Callable[[], None]) -> None:
        try:
            if self._error is None:
                work()
        except Exception as problem:
            with self._change:
                self._error = self._error or problem
        finally:
            with self._change:
                self._bytes -= size
                self._change.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
