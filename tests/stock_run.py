"""One generation by a stock pipeline, with the calls of its transformer recorded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def recorded_calls(module: nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The arguments of every call of `module`, by name, as they were then: some pipelines change latents in place."""
    calls: list[dict[str, Any]] = []
    signature = inspect.signature(module.forward)

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = signature.bind(*args, **kwargs).arguments
        calls.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in call.items()})

    hook = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def stock_run(pipeline: Any, **settings: Any) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """The output of the pipeline (by default two steps at 48 x 80 pixels), and the calls of its transformer."""
    usual = {"height": 48, "width": 80, "num_inference_steps": 2, "output_type": "pt"}
    with recorded_calls(pipeline.transformer) as calls:
        output = pipeline(**usual | settings, generator=torch.Generator().manual_seed(5))
    return output[0], calls
