"""Cross-attention written out slowly from a module's own projections. It shares no code with the reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def attention_inputs(modules: dict[str, nn.Module]) -> Iterator[dict[str, dict[str, Any]]]:
    """What each attention was called with, and its output."""
    seen: dict[str, dict[str, Any]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: torch.Tensor) -> None:
            names = ("hidden_states", "encoder_hidden_states", "attention_mask")
            seen[name] = dict(zip(names, args, strict=False)) | kwargs | {"output": output}

        return hook

    hooks = [module.register_forward_hook(keep(name), with_kwargs=True) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def naive_attention(module: Any, call: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [B, heads, N, T], and the module's output, by a loop over rows and heads."""
    image, text, bias = call["hidden_states"], call["encoder_hidden_states"], call.get("attention_mask")
    if hasattr(module, "to_query"):  # Kandinsky 5 norms each head
        query, key, value, heads = module.to_query(image), module.to_key(text), module.to_value(text), module.num_heads
        head_norms, out = (module.query_norm, module.key_norm), module.out_layer
    else:  # the others norm all heads at once, where they norm
        query, key, value, heads = module.to_q(image), module.to_k(text), module.to_v(text), module.heads
        query = module.norm_q(query) if module.norm_q is not None else query
        key = module.norm_k(key) if module.norm_k is not None else key
        head_norms, out = (nn.Identity(), nn.Identity()), module.to_out[0]
    query, key, value = (x.unflatten(-1, (heads, -1)) for x in (query, key, value))
    query, key = head_norms[0](query), head_norms[1](key)
    rows, results = [], []
    for b in range(len(image)):
        of_heads = []
        for h in range(heads):
            scores = query[b, :, h] @ key[b, :, h].T / query.shape[-1] ** 0.5
            if bias is not None:  # 0 for words, -10000 for padding
                scores = scores + bias[b].reshape(1, -1)
            of_heads.append(scores.softmax(dim=-1))
        rows.append(torch.stack(of_heads))
        results.append(torch.cat([p @ value[b, :, h] for h, p in enumerate(of_heads)], dim=-1))
    return torch.stack(rows), out(torch.stack(results))
