"""An architecture with fresh weights: the baseline that says what training put into the maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.registry import diffusers_class
from ca_seg.backbones.loading.partial import build


def random_init(family: Family, config: dict[str, Any], keep_layers: int | None, seed: int) -> nn.Module:
    """The family's transformer as its class makes it, by `seed`; with `keep_layers`, only the first blocks.

    Without later blocks the model is built empty and each module starts itself anew (`reset_parameters`); parameters
    of modules that cannot are ones (norms) or normal with deviation 0.02.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if keep_layers is None:
            return diffusers_class(family, family.transformer).from_config(config)
        model = build(family, config, keep_layers)
        for module in model.modules():
            own = dict(module.named_parameters(recurse=False))
            for name, empty in own.items():
                value = torch.ones(empty.shape) if empty.ndim < 2 else torch.randn(empty.shape) * 0.02
                setattr(module, name, nn.Parameter(value, requires_grad=False))
            if own and hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return model
