"""A module that uses a frozen feature source without owning it.

    encoder, probe ... (nn.Module: trained, saved)  ──►  Frozen.source (not a submodule)  ──►  Backbone (frozen, shared)

The source is therefore in no `parameters()`, `state_dict()` or checkpoint, `.train()` does not reach it, and data
parallel wrappers leave it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from ca_seg.features.source import FeatureSource

Source = TypeVar("Source", bound=FeatureSource)


class Frozen(nn.Module, Generic[Source]):
    """Base class of modules that read features of `source`.

    The source follows the module to another device (by `.to`, `.cuda` or `.cpu` of the module or of any module around
    it) and keeps its own precision. It does not follow to `meta`, where its weights would be lost for all who share it.
    Deep copies of the module (an average of weights, the best model so far) share the source.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._shared = _Shared((source,))

    @property
    def source(self) -> Source:
        """What gives the features."""
        return self._shared[0]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Frozen[Source]:
        super()._apply(fn, recurse)
        device = fn(torch.empty(0, device=self.source.device)).device
        if device.type != "meta" and device != self.source.device:
            self.source.to(device)
        return self


class _Shared(tuple):
    """A tuple, so that what it holds is no submodule; a deep copy is the tuple itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self
