"""Gradients of a training that runs in several processes (`torchrun`), or in one."""

from __future__ import annotations

import torch
import torch.distributed as dist


def share_gradients(transformer: torch.nn.Module) -> None:
    """The mean of every gradient over the processes; nothing to do in one process."""
    if not dist.is_initialized():
        return
    parameters = list(transformer.parameters())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
