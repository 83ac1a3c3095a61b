"""One place to stand in every joint attention of a stock transformer.

Each joint attention of a diffusers transformer ends in `torch.nn.functional.scaled_dot_product_attention` with
[B, heads, tokens, head_dim], after norms and rotary embedding. A tap listens there while one of the named attention
modules runs, so no block is forked or patched and fused attention kernels stay:

    block 0 ──► attention ──► tap(layer 0, query, key, value) ──► output
    block 1 ──► attention ──► tap(layer 1, ...)
       ...            after the last wanted layer the pass is cut short

Attentions of other modules (an image's own second attention in SD3.5-medium, a text refiner) pass by untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# layer, query, key, value, and what else the model passes to the kernel: attn_mask, scale, enable_gqa
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]], torch.Tensor]
REFUSED = ("is_causal", "dropout_p")  # of an attention that is more than full and plain


class _PassEnd(Exception):
    """Raised inside a forward pass when nothing after this layer is wanted."""


class AttentionTap(TorchFunctionMode):
    """Calls `attend(layer, query, key, value, options)` in place of the attention inside each of `modules`.

    `attend` returns the attention output [B, heads, tokens, head_dim]. With `stop_after`, the forward pass ends
    right after that layer's attention; run it through `run`, which expects that end. The hooks live only inside the
    `with`, and are gone after success and after an exception alike.
    """

    def __init__(self, modules: Sequence[nn.Module], attend: Attend, *, stop_after: int | None = None) -> None:
        super().__init__()
        self._modules, self._attend, self._stop_after = modules, attend, stop_after
        self._layer: int | None = None
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> AttentionTap:
        for layer, module in enumerate(self._modules):
            self._hooks.append(module.register_forward_pre_hook(self._entering(layer)))
            self._hooks.append(module.register_forward_hook(self._leaving))
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
        def hook(module: nn.Module, args: Any) -> None:
            self._layer = layer

        return hook

    def _leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        self._layer = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or self._layer is None:
            return func(*args, **kwargs)
        layer, call = self._layer, dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
        if any(call.pop(option, None) for option in REFUSED):
            raise NotImplementedError(
                f"layer {layer} ({type(self._modules[layer]).__name__}) attends with {' or '.join(REFUSED)}; "
                "concept attention is defined for full joint attention"
            )
        query, key, value = (call.pop(name) for name in ("query", "key", "value"))
        output = self._attend(
            layer, query, key, value, {k: v for k, v in call.items() if v is not None and v is not False}
        )
        if layer == self._stop_after:
            raise _PassEnd
        return output
