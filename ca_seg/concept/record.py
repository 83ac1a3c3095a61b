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

    query: torch.Tensor | None  # after query norm and rotary embedding; None for the image unless it was asked for
    key: torch.Tensor  # after key norm and rotary embedding
    value: torch.Tensor
    output: torch.Tensor  # attention output before the output projection

    def rows(self, chosen: slice) -> Stream:
        """The same stream of some images of the batch; no copy."""
        query = None if self.query is None else self.query[chosen]
        return Stream(query, self.key[chosen], self.value[chosen], self.output[chosen])


def stream_recorder(
    streams: list[Stream], *, image_tokens: int, text_first: bool, last_layer: int, queries: bool = False
) -> Attend:
    """What a tap calls to attend as the stock model does, and add the image stream of layers 0 .. `last_layer`.

    `queries` keeps the image's queries too (for propagation through its self-attention, and for `image_output` of
    `ask_streams`).
    """
    rows = slice(-image_tokens, None) if text_first else slice(0, image_tokens)

    def attend(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value, **options)
        if layer <= last_layer:
            own = [repeat_kv(x, query.shape[1])[:, :, rows] for x in (key, value, output)]
            streams.append(Stream(query[:, :, rows] if queries else None, *own))
        return output

    return attend


def repeat_kv(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values that several query heads share (grouped-query attention), once per query head."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def record_streams(
    model: nn.Module,
    attentions: Sequence[nn.Module],
    inputs: dict[str, Any],
    *,
    image_tokens: int,
    text_first: bool,
    last_layer: int,
    queries: bool = False,
    stop_early: bool = True,
) -> tuple[list[Stream], Any]:
    """One pass of `model(**inputs)` that keeps the image stream of layers 0 .. `last_layer`.

    Returns the streams, and the model's own output (None when `stop_early` cut the pass). The prediction is the
    stock model's to the last bit: the tap calls the same attention kernel on the same tensors.
    """
    streams: list[Stream] = []
    attend = stream_recorder(
        streams, image_tokens=image_tokens, text_first=text_first, last_layer=last_layer, queries=queries
    )
    tap = AttentionTap(attentions, attend, stop_after=last_layer if stop_early else None)
    prediction = tap.run(model, inputs)
    check_seen(streams, last_layer + 1)
    return streams, prediction


def check_seen(streams: Sequence[Stream], expected: int) -> None:
    """Raises UserError when some joint attention went past the tap."""
    if len(streams) != expected:
        raise UserError(
            f"{len(streams)} attentions were seen where {expected} were expected: this transformer's attention does "
            "not go through torch's scaled_dot_product_attention",
            fix='call transformer.set_attention_backend("native") first',
        )
