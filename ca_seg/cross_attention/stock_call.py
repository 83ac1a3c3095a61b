"""The arguments that a stock pipeline gives to its denoiser, taken from the pipeline itself.

The pipeline is started for two steps without guidance, and stopped when it calls its denoiser for the first time:

    pipeline(prompt, height, width) ──► encodes the text, prepares sizes and positions ──► denoiser(**call)
                                                                                             └── stopped here
So text, masks, positions and sizes are the pipeline's own, for every finetune of it. Only the noised picture and its
timestep are put in afterwards (`Family.with_image`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ca_seg.errors import UserError


class _Stopped(Exception):
    """Raised at the first call of the denoiser."""


@torch.no_grad()
def stock_call(pipeline: Any, denoisers: Sequence[nn.Module], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, by name, of the first call of a denoiser in `pipeline(**arguments)`. The pipeline is unchanged."""
    call: dict[str, Any] = {}

    def keep(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call.update(named_arguments(module, args, kwargs))
        raise _Stopped

    with ExitStack() as stack:
        stack.enter_context(_without_progress_bar(pipeline))
        for denoiser in denoisers:
            stack.callback(denoiser.register_forward_pre_hook(keep, with_kwargs=True, prepend=True).remove)
        try:
            pipeline(**arguments, num_inference_steps=2, generator=torch.Generator().manual_seed(0))
        except _Stopped:
            return call
    raise UserError(f"{type(pipeline).__name__} ended without calling its denoiser")


def named_arguments(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of `module` by name."""
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


@contextmanager
def _without_progress_bar(pipeline: Any) -> Iterator[None]:
    before = getattr(pipeline, "_progress_bar_config", None)
    pipeline.set_progress_bar_config(**(before or {}) | {"disable": True})
    try:
        yield
    finally:
        pipeline.set_progress_bar_config(**(before or {}))
