"""Counting floating-point operations and memory traffic of a pass, from the shapes alone.

                          operations                        bytes
    linear                2 rows in out                     weights, input, output
    attention             4 heads queries keys head_dim     queries, keys, values, output (a fused kernel)
    convolution           2 outputs inputs-per-output       weights, input, output

A multiplication and an addition are two operations. Norms, activations and other work on single numbers is not counted:
it has few operations, and how many bytes it moves depends on what a compiler fuses. So the bytes are a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn.functional import conv2d, conv3d, layer_norm, linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Operations:
    """Floating-point operations, and bytes that are read from and written to memory."""

    flops: int = 0
    weight_bytes: int = 0  # read once for a whole batch
    moved_bytes: int = 0  # inputs and outputs

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.moved_bytes

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.flops + other.flops,
            self.weight_bytes + other.weight_bytes,
            self.moved_bytes + other.moved_bytes,
        )

    def of_batch(self, images: int) -> Operations:
        """From those of one image to those of a batch, whose weights are read once."""
        return Operations(images * self.flops, self.weight_bytes, images * self.moved_bytes)


class OperationCounter(TorchFunctionMode):
    """Counts what runs inside it; tensors may be on the meta device, where nothing is computed.

    Args:
        linear_bytes: of a weight of a linear layer
        number_bytes: of any other number

    Example:
        >>> with OperationCounter(2, 2) as counter:
        ...     model(**inputs)
        >>> counter.counted.flops
    """

    def __init__(self, linear_bytes: float, number_bytes: int) -> None:
        super().__init__()
        self.linear_bytes, self.number_bytes = linear_bytes, number_bytes
        self.counted = Operations()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, torch.Tensor)]
        shape_only = _ON_META.get(func) if inputs and inputs[0].is_meta else None
        output = func(*args, **(kwargs or {})) if shape_only is None else shape_only(*inputs)
        if func in _COUNTS:
            self.counted += _COUNTS[func](self, inputs, output)
        return output

    def linear(self, inputs: list[torch.Tensor], output: torch.Tensor) -> Operations:
        x, weight = inputs[:2]
        moved = (x.numel() + output.numel()) * self.number_bytes
        return Operations(2 * output.numel() * weight.shape[1], round(weight.numel() * self.linear_bytes), moved)

    def attention(self, inputs: list[torch.Tensor], output: torch.Tensor) -> Operations:
        query, key, value = inputs[:3]
        products = prod(query.shape[:-1]) * key.shape[-2]
        moved = sum(x.numel() for x in (query, key, value, output)) * self.number_bytes
        return Operations(2 * products * (query.shape[-1] + value.shape[-1]), 0, moved)

    def convolution(self, inputs: list[torch.Tensor], output: torch.Tensor) -> Operations:
        x, weight = inputs[:2]
        moved = (x.numel() + output.numel()) * self.number_bytes
        return Operations(2 * output.numel() * prod(weight.shape[1:]), weight.numel() * self.number_bytes, moved)


_COUNTS: dict[Any, Callable[[OperationCounter, list[torch.Tensor], torch.Tensor], Operations]] = {
    linear: OperationCounter.linear,
    scaled_dot_product_attention: OperationCounter.attention,
    conv2d: OperationCounter.convolution,
    conv3d: OperationCounter.convolution,
}

# The shapes of frequent calls: torch works them out slowly on the meta device, through many small operations
_ON_META: dict[Any, Callable[..., torch.Tensor]] = {
    linear: lambda x, weight, *_: x.new_empty(*x.shape[:-1], len(weight)),
    scaled_dot_product_attention: lambda query, key, value, *_: query.new_empty(*query.shape[:-1], value.shape[-1]),
    layer_norm: lambda x, *_: x.new_empty(x.shape),
}
