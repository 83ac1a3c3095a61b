"""Work behind the scenes: files are encoded and written by threads while the next images are computed.

predict ──► submit(size, work) ──► at most `room` bytes ──► threads ──► disk
              waits when full                                 an error comes up at the next submit, or at close
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ca_seg.errors import OutOfRange

ROOM = 2**28  # bytes of labels that wait to be written
MOST_THREADS = 4


def threads_beside(device: str) -> int:
    """How many threads write beside a backbone on "cuda", "cpu" ...

    Threads take turns at Python's lock, and each that waits for it holds up the backbone. On a CPU they also take its
    cores, so there is one for every four of them.
    """
    return MOST_THREADS if device != "cpu" else max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 4))


class Background:
    """A pool of threads with a bounded queue. Where room is short, `submit` waits: memory cannot grow with the run.

    After the first error nothing more is begun. A context manager: leaving it waits for all that was submitted.
    """

    def __init__(self, threads: int = 1, room: int = ROOM) -> None:
        if threads < 1:
            raise OutOfRange(f"{threads} threads to write with", allowed="1 or more")
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._room, self._held = room, 0
        self._change = threading.Condition()
        self._error: Exception | None = None

    def submit(self, size: int, work: Callable[[], None]) -> None:
        """Have `work` done, which holds `size` bytes. Something larger than the room waits until nothing else is held.

        Raises the first error of any work so far.
        """
        with self._change:
            self._change.wait_for(lambda: self._error or not self._held or self._held + size <= self._room)
            self._raise()
            self._held += size
        self._pool.submit(self._run, size, work)

    def close(self) -> None:
        """Wait for everything; raises the first error."""
        self._pool.shutdown(wait=True)
        self._raise()

    def abandon(self) -> None:
        """Begin nothing more, and wait for what is under way."""
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
                self._held -= size
                self._change.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
