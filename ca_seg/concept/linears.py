"""Linear layers that an ask need not compute, because their output is unused or known already.

In a double-stream block text and image have separate weights. An ask has no image, only a dummy token whose output
nothing reads, so the image's weights are not read from memory:

             modulation   projections, feed-forward
    image    skipped      skipped
    text     kept         computed                     modulation depends on the timestep, not on the words

The first ask of a recording computes the modulation, and later asks reuse it. An ask of few words is bound by reading
weights. The vectors of the concepts stay the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.functional import linear

Linear = Callable[..., torch.Tensor]  # as torch.nn.functional.linear: input, weight, bias


@dataclass
class Modulation:
    """The outputs of modulation layers at the timesteps of one recording, for one pooled text vector."""

    pooled: torch.Tensor | None = None  # [1, pooled_dim]; None: the family has none
    outputs: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)  # id(weight): weight, output

    def of(self, pooled: torch.Tensor | None) -> Modulation:
        """This modulation if it holds for text with `pooled`; otherwise it is emptied first."""
        same = pooled is self.pooled if pooled is None or self.pooled is None else torch.equal(pooled, self.pooled)
        if not same:
            self.pooled, self.outputs = pooled, {}
        return self


class AskLinears:
    """Which linear layers of one transformer an ask skips, and of which it keeps the output.

    Layers that do not call torch's `linear` with their own weight (bitsandbytes, GGUF) are computed as in the stock
    model.

    Args:
        image_modules: only the dummy token of an ask passes through them
        modulation: modules whose output depends on the timestep alone
        blocks: the joint blocks; in them, each linear layer with an input [B, d] (no tokens) is modulation, and depends
            on the timestep and the pooled text vector
    """

    def __init__(
        self, image_modules: Iterable[nn.Module], modulation: Iterable[nn.Module], blocks: Iterable[nn.Module]
    ) -> None:
        # weights are found by id; they are kept too, so that no other tensor can get the id of one
        self._skipped = {id(weight): weight for weight in _weights(image_modules)}
        self._in_blocks = {id(weight): weight for weight in _weights(blocks)}
        self._inner: dict[int, torch.Tensor] = {}  # id of a weight inside a modulation module to the module's last one
        self._last: dict[int, torch.Tensor] = {}
        for module in modulation:
            *inner, last = _weights([module])
            self._last[id(last)] = last
            self._inner |= {id(weight): last for weight in inner}

    def reading(self, known: Modulation) -> Linear:
        """A function like `linear` that skips what is unused, and takes modulation from `known` or adds it there."""

        def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            key = id(weight)
            if key in self._skipped or (key in self._inner and id(self._inner[key]) in known.outputs):
                return _zeros(x, len(weight))
            if key not in self._last and not (x.ndim == 2 and key in self._in_blocks):
                return linear(x, weight, bias)
            if key not in known.outputs:
                known.outputs[key] = weight, linear(x, weight, bias)
            return known.outputs[key][1]

        return compute


def _zeros(x: torch.Tensor, channels: int) -> torch.Tensor:
    """Zeros of the shape and type that `linear` would give."""
    device = x.device.type
    autocast = device != "meta" and torch.is_autocast_enabled(device)  # on meta only shapes are computed
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    return x.new_zeros(*x.shape[:-1], channels, dtype=dtype)


def _weights(modules: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    return (layer.weight for module in modules for layer in module.modules() if isinstance(layer, nn.Linear))
