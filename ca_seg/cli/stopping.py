"""Ctrl-C and SIGTERM: a command ends within seconds, says what is safe and how to go on, and leaves no process behind.

first signal     Stopped is raised wherever the main thread is; files are written atomically, so none is left in part.
                 Where Python drops an exception (callbacks of weak references), it is raised again a moment later
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
MOMENT = 0.05  # seconds until Stopped is raised again
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
        self._former_hook = sys.unraisablehook
        self._dropped = False
        self._watch: threading.Timer | None = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._former = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
            sys.unraisablehook = self._raise_again
        Stop.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Stop.current = None
        if self._watch is not None:
            self._watch.cancel()
        if self._former:
            sys.unraisablehook = self._former_hook
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
        if self._dropped:
            self._dropped = False
            raise Stopped
        if self.received is not None:
            self._end_at_once()
        self.received = signum
        self._watch = _timer(GRACE, self._end_at_once)
        raise Stopped

    def _raise_again(self, dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, Stopped):
            self._former_hook(dropped)
        elif self.received is not None:
            self._dropped = True
            _timer(MOMENT, lambda: os.kill(self._process, self.received or 0))

    def _end_at_once(self) -> NoReturn:
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(self.status)


def _timer(seconds: float, call: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def when_stopped(advice: Callable[[], str]) -> Iterator[None]:
    """What the command says if it is stopped within the block: what is safe, and how to go on."""
    try:
        yield
    except BaseException:
        if Stop.current is not None and Stop.current.received is not None:
            Stop.current.advice = advice()
        raise
