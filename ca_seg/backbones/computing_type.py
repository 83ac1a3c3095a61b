"""The type in which a transformer computes, where its weights are quantised or stored smaller."""

from __future__ import annotations

import torch
from torch import nn

LAYERWISE_CASTING = "layerwise_casting"  # the name of the hook of diffusers' `enable_layerwise_casting`


def computing_type(transformer: nn.Module) -> torch.dtype:
    """That of layerwise casting, or of the first floating-point weights of more than a byte."""
    for module in transformer.modules():
        registry = getattr(module, "_diffusers_hook", None)
        casting = None if registry is None else registry.get_hook(LAYERWISE_CASTING)
        if casting is not None:
            return casting.compute_dtype
    weights = (p.dtype for p in transformer.parameters())
    return next(dtype for dtype in weights if dtype.is_floating_point and dtype.itemsize > 1)
