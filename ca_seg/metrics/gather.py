"""Values of all processes of a distributed run, in one list."""

from __future__ import annotations

from typing import TypeVar

import torch

Value = TypeVar("Value")


def gather_objects(value: Value) -> list[Value]:
    """`value` of every process, in the order of their ranks; of this process alone where nothing is distributed.

    Args:
        value: anything that can be pickled
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    gathered: list[Value | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]  # every place is filled
