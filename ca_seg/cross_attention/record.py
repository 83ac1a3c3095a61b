"""Record the cross-attentions of one forward pass of a stock denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.grid import Grid
from ca_seg.concept.tap import AttentionTap
from ca_seg.cross_attention.layer import CrossAttention
from ca_seg.errors import UserError


class CrossAttentionTap:
    """Keeps the queries and keys of the given cross-attentions while a denoiser runs inside the `with`.

    The prediction equals the stock model's to the last bit: the same kernel runs on the same tensors.

    Args:
        modules: name to attention module
        grid: the grid of so many image tokens of the call
        outputs: keep the attention outputs too
        attends: how many times each module attends; the last time to the text, and only that is kept
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        grid: Callable[[int], Grid],
        *,
        outputs: bool = False,
        attends: int = 1,
    ) -> None:
        self.modules, self.grid, self.outputs, self.attends = dict(modules), grid, outputs, attends
        self._names = list(self.modules)
        self._layers: dict[str, CrossAttention] = {}
        self._calls = 0
        self._tap = AttentionTap(list(self.modules.values()), self._attend)

    def __enter__(self) -> CrossAttentionTap:
        self._layers, self._calls = {}, 0
        self._tap.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._tap.__exit__(*exc)

    def _attend(
        self, index: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value, **options)
        name = self._names[index]
        self._calls += 1
        self._layers[name] = CrossAttention(
            name,
            self.grid(query.shape[2]),
            query,
            key,
            options.get("attn_mask"),
            options.get("scale"),
            output if self.outputs else None,
        )
        return output

    def layers(self) -> tuple[CrossAttention, ...]:
        """The recorded layers, in the order of `modules`.

        Raises:
            UserError: if a module attended another way, or to more than the text
        """
        if len(self._layers) != len(self.modules):
            raise UserError(
                f"{len(self._layers)} of {len(self.modules)} cross-attentions were recorded: the others do not go "
                "through torch's scaled_dot_product_attention",
                fix="turn attention slicing and xformers off, or call set_attn_processor(AttnProcessor2_0())",
            )
        if self._calls != self.attends * len(self.modules):
            raise UserError(
                f"{len(self.modules)} cross-attentions attended {self._calls} times: to a picture beside the text",
                allowed="pipelines that are conditioned on text alone",
                fix="unload the IP-Adapter, or load the text-to-image pipeline",
            )
        return tuple(self._layers[name] for name in self._names)
