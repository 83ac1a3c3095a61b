"""Keys and values in 8 bits, so that a recording that waits for words takes half of the memory of bfloat16.

Each channel of each head has its own scale, because a few channels of large models are far larger than the rest:

    x [B, heads, N, d]  ~  values (int8) * scale [B, heads, 1, d],    scale = max |x| over the tokens / 127
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGEST = 127


@dataclass(frozen=True)
class EightBit:
    """A tensor in 8 bits."""

    values: torch.Tensor  # int8 [B, heads, N, d]
    scale: torch.Tensor  # [B, heads, 1, d], in the type of the tensor

    @classmethod
    def of(cls, x: torch.Tensor) -> EightBit:
        """Rounded to the nearest of 255 numbers."""
        scale = x.abs().amax(dim=2, keepdim=True).float().clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
        return cls((x / scale).round().to(torch.int8), scale.to(x.dtype))

    def __len__(self) -> int:
        return len(self.values)

    def floats(self) -> torch.Tensor:
        """The tensor, in its own type."""
        return self.values.to(self.scale.dtype) * self.scale

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> EightBit:
        """With the rows of values and scale changed alike."""
        return EightBit(change(self.values), change(self.scale))
