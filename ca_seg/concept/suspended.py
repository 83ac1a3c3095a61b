"""A forward pass that can be suspended, so that two passes of one model take turns.

first pass     block 0 |         block 1 |         block 2 |
second pass            | block 0         | block 1         | block 2

A forward pass is one function call, so the second one runs in a thread of its own. Only one of the two threads runs at
a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch


class _Closed(BaseException):
    """Raised inside a suspended pass that will not be resumed."""


class SuspendedPass:
    """`run()` in a thread, under the caller's settings of torch (gradients, inference mode, autocast, device, stream).

    Args:
        run: the pass; it calls `pause` where the other pass should go on
    """

    def __init__(self, run: Callable[[], object]) -> None:
        self.done = False
        self._run, self._closing = run, False
        self._problem: BaseException | None = None
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._settings = _torch_settings()
        self._thread = threading.Thread(target=self._main, daemon=True)

    @property
    def is_current(self) -> bool:
        """Whether the calling code runs in this pass."""
        return threading.current_thread() is self._thread

    def resume(self) -> None:
        """Run until the next `pause` or the end. Raises what the pass raises."""
        if self.done:
            return
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._paused.acquire()
        if self._problem is not None:
            raise self._problem

    def pause(self) -> None:
        """Called inside the pass: wait until it is resumed."""
        self._paused.release()
        self._go.acquire()
        if self._closing:
            raise _Closed

    def close(self) -> None:
        """End the pass where it is suspended; its contexts are left as after an exception."""
        self._closing = True
        if self._thread.ident is not None:
            self._go.release()
            self._thread.join()

    def _main(self) -> None:
        try:
            with self._settings():
                self._run()
        except _Closed:
            pass
        except BaseException as problem:  # raised again in the thread that waits
            self._problem = problem
        self.done = True
        self._paused.release()


def _torch_settings() -> Callable[[], AbstractContextManager[None]]:
    """A context with torch's settings of the calling thread: a new thread has the defaults."""
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    stream = torch.cuda.current_stream() if on_gpu else None
    devices = ("cpu", "cuda", "mps") if on_gpu or torch.backends.mps.is_available() else ("cpu",)
    autocast = {device: torch.get_autocast_dtype(device) for device in devices if torch.is_autocast_enabled(device)}

    @contextmanager
    def settings() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(gradients))
            for device, dtype in autocast.items():
                stack.enter_context(torch.autocast(device, dtype=dtype))
            if stream is not None:
                stack.enter_context(torch.cuda.device(stream.device))
                stack.enter_context(torch.cuda.stream(stream))
            yield

    return settings
