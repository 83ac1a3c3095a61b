"""Record: run the stock transformer once and keep what the image said in each joint attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.tap import Attend, AttentionTap
from ca_seg.errors import UserError


@dataclass(frozen=True)
class Stream:
    """The tokens of one stream (image or concepts) in one joint attention. All [B, heads, tokens, head_dim]."""

    query: torch.Tensor | None  # after query norm and rotary embedding; None for the image, for nothing reads it
    key: torch.Tensor  # after key norm and rotary embedding
    value: torch.Tensor
    output: torch.Tensor  # attention output before the output projection


def image_stream(
    key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, image_tokens: int, text_first: bool
) -> Stream:
    """The image's share of joint sequences [B, heads, text + image, head_dim] (or image + text)."""
    rows = slice(-image_tokens, None) if text_first else slice(0, image_tokens)
    return Stream(None, key[:, :, rows], value[:, :, rows], output[:, :, rows])


def keeping(streams: list[Stream], *, image_tokens: int, text_first: bool, last_layer: int) -> Attend:
    """What a tap calls to attend as the stock model does, and add the image stream of layers 0 .. `last_layer`."""

    def attend(layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value)
        if layer <= last_layer:
            streams.append(image_stream(key, value, output, image_tokens, text_first))
        return output

    return attend


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
    attend = keeping(streams, image_tokens=image_tokens, text_first=text_first, last_layer=last_layer)
    tap = AttentionTap(blocks, attend, stop_after=last_layer if stop_early else None)
    prediction = tap.run(model, inputs)
    if len(streams) != last_layer + 1:
        raise UserError(
            f"{len(streams)} attentions were seen where {last_layer + 1} were expected: this transformer's attention "
            "does not go through torch's scaled_dot_product_attention",
            fix='call transformer.set_attention_backend("native") first',
        )
    return streams, prediction
