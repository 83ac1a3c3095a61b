"""One generation by a stock pipeline, with the calls of its transformer noted."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def noted_calls(module: nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The arguments of every call of `module`, by name."""
    calls: list[dict[str, Any]] = []
    signature = inspect.signature(module.forward)

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(dict(signature.bind(*args, **kwargs).arguments))

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def stock_run(pipeline: Any, **settings: Any) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """What the pipeline makes (two steps of 48 x 80 pixels, unless told), and its transformer's calls."""
    usual = {"height": 48, "width": 80, "num_inference_steps": 2, "output_type": "pt"}
    with noted_calls(pipeline.transformer) as calls:
        made = pipeline(**usual | settings, generator=torch.Generator().manual_seed(5))
    return made[0], calls
