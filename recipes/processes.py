"""The processes of a training that `torchrun` started; without it there is one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist


def start_processes() -> tuple[int, int]:
    """The number of this process and how many there are; several where `torchrun` started them."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("gloo")
    return process_number()


def process_number() -> tuple[int, int]:
    """The number of this process and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def sum_over_processes(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The sum of each tensor over the processes, by one exchange; the tensors themselves where there is one process."""
    if not dist.is_initialized() or not tensors:
        return list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    sizes = [tensor.numel() for tensor in tensors]
    return [part.view_as(tensor) for part, tensor in zip(flat.split(sizes), tensors, strict=True)]
