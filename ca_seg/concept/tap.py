"""Intercept every joint attention of a stock transformer.

Every joint attention of a diffusers transformer ends in `torch.nn.functional.scaled_dot_product_attention` with
[B, heads, tokens, head_dim], after norms and rotary embedding. The tap intercepts that call while one of the given
attention modules runs. So no block is copied or patched, and fused attention kernels stay:

    block 0 ──► attention ──► tap(layer 0, query, key, value) ──► output
    block 1 ──► attention ──► tap(layer 1, ...)
       ...            after the last wanted layer the pass ends

Most models call the kernel once for all rows of a batch. Mochi calls it once for each row, without that row's padding:
`attend` then sees the rows of a layer one after another, in order, and the pass ends after the last one.

Attentions of other modules (the image's second attention in SD3.5-medium, a text refiner) are not intercepted.

In a compiled transformer the hooks and the intercepted attention are not compiled: they differ from layer to layer, and
torch would compile every block anew for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from ca_seg.concept.linears import Linear
from ca_seg.errors import UserError

# layer, query, key, value, and the other options that the model gives to the kernel: attn_mask, scale, enable_gqa
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]], torch.Tensor]
UNSUPPORTED = ("is_causal", "dropout_p")  # options of the kernel: only full attention is defined


def check_whole(model: nn.Module) -> None:
    """Raises UserError for a transformer of which only a part of the attention can be seen.

    Split over several devices by heads or tokens, each sees a part, and would record it as if it were all. Caches skip
    attentions.
    """
    if getattr(model, "_parallel_config", None) is not None:
        raise UserError(
            "the transformer is split over devices (`enable_parallelism`): each sees a part of the attention",
            allowed="a whole transformer on each device",
            fix="load it without `enable_parallelism`, and give each device other images",
        )
    if getattr(model, "is_cache_enabled", False):
        raise UserError(
            "the transformer has a cache of diffusers (`enable_cache`), which skips attentions",
            fix="call `disable_cache()` first",
        )


class _PassEnd(Exception):
    """Raised inside a forward pass to end it after the last wanted layer."""


class AttentionTap(TorchFunctionMode):
    """Calls `attend(layer, query, key, value, options)` instead of the attention kernel inside each of `modules`.

    `attend` returns the attention output [B, heads, tokens, head_dim]. With `stop_after` the forward pass ends right
    after the attention of that layer; use `run`, which handles that end. With `linears`, that function replaces torch's
    `linear` in the whole pass. The hooks exist only inside the `with`: they are removed after success and after an
    exception. A pass of the same model in another thread is not intercepted.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        attend: Attend,
        *,
        stop_after: int | None = None,
        linears: Linear = linear,
    ) -> None:
        super().__init__()
        self._linears = linears
        self._thread = get_ident()
        self._attend, self._stop_after = attend, stop_after
        self._layers = {module: layer for layer, module in enumerate(modules)}
        self._layer: int | None = None
        self._rows = 0  # of the batch, in which the layer has not attended yet
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> AttentionTap:
        self._thread = get_ident()
        for module in self._layers:
            self._hooks.append(module.register_forward_pre_hook(self._entering, with_kwargs=True))
            self._hooks.append(module.register_forward_hook(self._leaving))
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._layer = None
        super().__exit__(*exc)

    def run(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """`model(**inputs)`; None if the pass ended after `stop_after`. Raises UserError as `check_whole` does."""
        check_whole(model)
        try:
            with self:
                return model(**inputs)
        except _PassEnd:
            return None

    @torch.compiler.disable
    def _entering(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if get_ident() == self._thread:
            self._layer = self._layers[module]
            self._rows = next(len(x) for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))

    @torch.compiler.disable
    def _leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        if get_ident() == self._thread:
            self._layer = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is linear:
            return self._linears(*args, **kwargs)
        if func is not scaled_dot_product_attention:
            return func(*args, **kwargs)
        return self._attention(args, kwargs)

    @torch.compiler.disable
    def _attention(self, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        if self._layer is None:
            return scaled_dot_product_attention(*args, **kwargs)
        layer, call = self._layer, dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
        if any(call.pop(option, None) for option in UNSUPPORTED):
            raise NotImplementedError(
                f"layer {layer} ({type(list(self._layers)[layer]).__name__}) attends with {' or '.join(UNSUPPORTED)}; "
                "concept attention is defined for full joint attention"
            )
        query, key, value = (call.pop(name) for name in ("query", "key", "value"))
        output = self._attend(
            layer, query, key, value, {k: v for k, v in call.items() if v is not None and v is not False}
        )
        self._rows -= len(query)
        if layer == self._stop_after and self._rows <= 0:
            raise _PassEnd
        return output
