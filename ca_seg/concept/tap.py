"""One place to stand in every joint attention of a stock transformer.

Each joint attention of a diffusers transformer ends in `torch.nn.functional.scaled_dot_product_attention` with
[B, heads, tokens, head_dim], after norms and rotary embedding. A tap listens there while one of the named blocks
runs, so no block is forked or patched and fused attention kernels stay:

    block 0 ──► attention ──► tap(layer 0, query, key, value) ──► output
    block 1 ──► attention ──► tap(layer 1, ...)
       ...            after the last wanted layer the pass is cut short
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
OPTIONS = ("is_causal", "dropout_p", "scale", "enable_gqa")  # of an attention that is more than full and plain


class _PassEnd(Exception):
    """Raised inside a forward pass when nothing after this layer is wanted."""


class AttentionTap(TorchFunctionMode):
    """Calls `attend(layer, query, key, value)` in place of the attention of each of `blocks`.

    `attend` returns the attention output [B, heads, tokens, head_dim]. With `stop_after`, the forward pass ends
    right after that layer's attention; run it through `run`, which expects that end. The block hooks live only
    inside the `with`, and are gone after success and after an exception alike.
    """

    def __init__(self, blocks: Sequence[nn.Module], attend: Attend, *, stop_after: int | None = None) -> None:
        super().__init__()
        self._blocks, self._attend, self._stop_after = blocks, attend, stop_after
        self._layer: int | None = None
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> AttentionTap:
        for layer, block in enumerate(self._blocks):
            self._hooks.append(block.register_forward_pre_hook(self._entering(layer)))
            self._hooks.append(block.register_forward_hook(self._leaving))
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._layer = None
        super().__exit__(*exc)

    def run(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """`model(**inputs)`; None when the pass was cut after `stop_after`."""
        try:
            with self:
                return model(**inputs)
        except _PassEnd:
            return None

    def _entering(self, layer: int) -> Callable[..., None]:
        def hook(block: nn.Module, args: Any) -> None:
            self._layer = layer

        return hook

    def _leaving(self, block: nn.Module, args: Any, output: Any) -> None:
        self._layer = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or self._layer is None:
            return func(*args, **kwargs)
        layer, call = self._layer, dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
        if call.get("attn_mask") is not None or any(call.get(option) for option in OPTIONS):
            raise NotImplementedError(
                f"layer {layer} of {type(self._blocks[layer]).__name__} attends with a mask or {', '.join(OPTIONS)}; "
                "concept attention is defined for full joint attention"
            )
        output = self._attend(layer, call["query"], call["key"], call["value"])
        if layer == self._stop_after:
            raise _PassEnd
        return output
