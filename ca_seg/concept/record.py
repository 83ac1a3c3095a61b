"""Record: run the stock transformer once and keep what the image said in each joint attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.tap import AttentionTap


@dataclass(frozen=True)
class Stream:
    """The tokens of one stream (image or concepts) in one joint attention. All [B, heads, tokens, head_dim]."""

    query: torch.Tensor  # after query norm and rotary embedding
    key: torch.Tensor  # after key norm and rotary embedding
    value: torch.Tensor
    output: torch.Tensor  # attention output before the output projection


def image_part(tokens: torch.Tensor, image_tokens: int, text_first: bool) -> torch.Tensor:
    """The image's share of a joint sequence [B, heads, text + image, head_dim] (or image + text)."""
    return tokens[:, :, -image_tokens:] if text_first else tokens[:, :, :image_tokens]


def record_streams(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    inputs: dict[str, Any],
    *,
    image_tokens: int,
    text_first: bool,
    last_layer: int,
    stop_early: bool = True,
) -> tuple[list[Stream], Any]:
    """One pass of `model(**inputs)` that keeps the image stream of layers 0 .. `last_layer`.

    Returns the streams, and the model's own output (None when `stop_early` cut the pass). The prediction is the
    stock model's to the last bit: the tap calls the same attention kernel on the same tensors.
    """
    streams: list[Stream] = []

    def attend(layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value)
        if layer <= last_layer:
            parts = (image_part(t, image_tokens, text_first) for t in (query, key, value, output))
            streams.append(Stream(*parts))
        return output

    tap = AttentionTap(blocks, attend, stop_after=last_layer if stop_early else None)
    prediction = tap.run(model, inputs)
    return streams, prediction
