"""Passes of a compiled transformer that run as if it were not compiled.

An ask leaves out other weights in each block (see `AskLinears`), so torch would compile each block anew, and give up
after eight.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def uncompiled(model: nn.Module) -> AbstractContextManager[object]:
    """Within it `model` runs as it was before `compile`; so does every compiled function of the process meanwhile."""
    return _STANCE if is_compiled(model) else nullcontext()


def is_compiled(model: nn.Module) -> bool:
    """Whether `compile` was called for a module of the model, as `compile_repeated_blocks` does for its blocks."""
    return any(module._compiled_call_impl is not None for module in model.modules())


class _Uncompiled(AbstractContextManager[object]):
    """torch has one stance for the process, and passes of several threads may overlap: the last one restores it."""

    def __init__(self) -> None:
        self._lock, self._passes = threading.Lock(), 0
        self._stance: AbstractContextManager[None] = nullcontext()

    def __enter__(self) -> object:
        with self._lock:
            if self._passes == 0:
                self._stance = torch.compiler.set_stance("force_eager")
            self._passes += 1
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._passes -= 1
            if self._passes == 0:
                self._stance.__exit__(None, None, None)


_STANCE = _Uncompiled()
