"""Record: run the stock transformer once and keep the image's part of every joint attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.tap import Attend, AttentionTap
from ca_seg.errors import UserError

# layer, query, key, and the options of the attention kernel
Observe = Callable[[int, torch.Tensor, torch.Tensor, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Stream:
    """The tokens of one stream (image or concepts) in one joint attention. All [B, heads, tokens, head_dim]."""

    query: torch.Tensor | None  # after query norm and rotary embedding; None if not kept
    key: torch.Tensor  # after key norm and rotary embedding
    value: torch.Tensor
    output: torch.Tensor  # attention output before the output projection

    def rows(self, chosen: slice) -> Stream:
        """The stream of some rows of the batch; tensors are not copied."""
        query = None if self.query is None else self.query[chosen]
        return Stream(query, self.key[chosen], self.value[chosen], self.output[chosen])

    def tokens(self, chosen: slice) -> Stream:
        """The stream of some tokens; tensors are not copied."""
        query = None if self.query is None else self.query[:, :, chosen]
        return Stream(query, *(x[:, :, chosen] for x in (self.key, self.value, self.output)))


def stream_recorder(
    streams: list[Stream],
    *,
    image_tokens: int,
    text_first: bool,
    last_layer: int,
    queries: bool = False,
    reference_tokens: int = 0,
) -> Attend:
    """A function for `AttentionTap` that attends as the stock model does and adds the image stream to `streams`.

    It records layers 0 .. `last_layer`. With `queries` the image's queries are kept too (for propagation through the
    image's self-attention, and for `attend_to_concepts`). Tokens of reference pictures, which follow those of the image
    in editing pipelines, are left out.
    """
    rows = slice(-image_tokens - reference_tokens, -reference_tokens or None) if text_first else slice(0, image_tokens)

    def attend(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value, **options)
        if layer <= last_layer:
            image_parts = [repeat_kv(x, query.shape[1])[:, :, rows] for x in (key, value, output)]
            streams.append(Stream(query[:, :, rows] if queries else None, *image_parts))
        return output

    return attend


def repeat_kv(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values [B, kv_heads, T, d] repeated to one per query head (grouped-query attention)."""
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
    observe: Observe | None = None,
) -> tuple[list[Stream], Any]:
    """Run `model(**inputs)` once and keep the image stream of layers 0 .. `last_layer`.

    The prediction equals the stock model's to the last bit: the same attention kernel runs on the same tensors.

    Args:
        model: the stock transformer
        attentions: its joint attentions, layer by layer
        inputs: its arguments
        image_tokens: how many tokens of the joint sequence are the image
        text_first: the joint sequence is [text, image]; otherwise [image, text]
        last_layer: the last layer to record
        queries: keep the image's queries too
        stop_early: end the pass after the last layer
        observe: is shown the queries, keys and options of every joint attention

    Returns:
        The streams, and the model's output (None with `stop_early`).

    Raises:
        UserError: if the model's attention does not go through torch's scaled_dot_product_attention
    """
    streams: list[Stream] = []
    attend = stream_recorder(
        streams, image_tokens=image_tokens, text_first=text_first, last_layer=last_layer, queries=queries
    )
    if observe is not None:
        attend = _observed(attend, observe)
    tap = AttentionTap(attentions, attend, stop_after=last_layer if stop_early else None)
    prediction = tap.run(model, inputs)
    check_recorded(streams, last_layer + 1)
    return streams, prediction


def _observed(attend: Attend, observe: Observe) -> Attend:
    def observed(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        observe(layer, query, key, options)
        return attend(layer, query, key, value, options)

    return observed


def check_recorded(streams: Sequence[Stream], expected: int) -> None:
    """Raises UserError if a joint attention did not go through the tap."""
    if len(streams) != expected:
        raise UserError(
            f"{len(streams)} attentions were recorded, {expected} were expected: this transformer's attention does "
            "not go through torch's scaled_dot_product_attention",
            fix='call transformer.set_attention_backend("native") first',
        )
