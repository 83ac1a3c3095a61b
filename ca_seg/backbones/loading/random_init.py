"""An architecture with random weights: the baseline that shows what the maps owe to training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.backbones.loading.partial import build, described


def random_init(family: Family, config: dict[str, Any], keep_layers: int | None, seed: int) -> nn.Module:
    """The family's transformer as its class initialises it, with `seed`; with `keep_layers`, only the first blocks.

    With `keep_layers` the model is built empty, and each module initialises itself (`reset_parameters`). Parameters of
    modules without that method are ones (norms) or normal with standard deviation 0.02.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if keep_layers is None:
            return described(diffusers_class(family, family.transformer), config)
        model = build(family, config, keep_layers)
        for module in model.modules():
            parameters = dict(module.named_parameters(recurse=False))
            for name, empty in parameters.items():
                value = torch.ones(empty.shape) if empty.ndim < 2 else torch.randn(empty.shape) * 0.02
                setattr(module, name, nn.Parameter(value, requires_grad=False))
            reset: Any = getattr(module, "reset_parameters", None)
            if parameters and reset is not None:
                reset()
        return model
