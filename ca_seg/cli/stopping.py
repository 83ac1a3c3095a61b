"""Ctrl-C and SIGTERM: a command ends within seconds, says what is safe and how to go on, and leaves no process behind.

first signal     Stopped is raised wherever the main thread is; files are written atomically, so none is left in part
second signal    the process ends at once, and so it does when GRACE seconds have passed since the first
exit status      128 + the number of the signal, as in a shell: 130 for Ctrl-C, 143 for SIGTERM
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

GRACE = 30.0  # seconds to end in after the first signal
NOTHING = "nothing was written: the same command again begins anew"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal asked the command to end. No `except Exception` holds it up."""


class Stop:
    """Handles the signals while it is entered.

    Attributes:
        received: the first signal; None: none came
        advice: what is safe and how to go on
    """

    current: Stop | None = None

    def __init__(self) -> None:
        self.received: int | None = None
        self.advice = NOTHING
        self._process = os.getpid()
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._former = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        Stop.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Stop.current = None
        for signum, handler in self._former.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    @property
    def status(self) -> int:
        return 128 + (self.received or 0)

    def end(self) -> NoReturn:
        """End the worker processes and this one, and say what is safe; of several processes of one run, the first does.

        The interpreter is not taken down in order: with torch that takes longer than all before.
        """
        if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
            name = signal.Signals(self.received or 0).name
            print(f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}: {self.advice}.", file=sys.stderr)
        with suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        self._end_at_once()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked: its loader ends it
            raise KeyboardInterrupt
        if self.received is not None:
            self._end_at_once()
        self.received = signum
        watch = threading.Timer(GRACE, self._end_at_once)
        watch.daemon = True
        watch.start()
        raise Stopped

    def _end_at_once(self) -> NoReturn:
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(self.status)


@contextmanager
def when_stopped(advice: Callable[[], str]) -> Iterator[None]:
    """What the command says if it is stopped within the block: what is safe, and how to go on."""
    try:
        yield
    except BaseException:
        if Stop.current is not None and Stop.current.received is not None:
            Stop.current.advice = advice()
        raise
