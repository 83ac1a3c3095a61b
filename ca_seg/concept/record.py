"""Record: run the stock transformer once and keep the image's part of every joint attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.eight_bit import EightBit
from ca_seg.concept.tap import Attend, AttentionTap
from ca_seg.errors import OutOfRange, UserError

Rows = TypeVar("Rows")  # of one layer: a stream, or a tensor
PARTS = ("query", "key", "value", "output")  # of a stream

# layer, query, key, and the options of the attention kernel
Observe = Callable[[int, torch.Tensor, torch.Tensor, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Stream:
    """The tokens of one stream (image or concepts) in one joint attention.

    All [B, heads, tokens, head_dim]; None if not kept. `part` gives them as floats.
    """

    query: torch.Tensor | None  # after query norm and rotary embedding
    key: torch.Tensor | EightBit | None  # after key norm and rotary embedding
    value: torch.Tensor | EightBit | None
    output: torch.Tensor | None  # attention output before the output projection

    def part(self, name: str) -> torch.Tensor:
        """The query, key, value or output. Raises OutOfRange if it was not kept."""
        part: torch.Tensor | EightBit | None = getattr(self, name)
        if part is None:
            kept = [part for part in PARTS if getattr(self, part) is not None]
            raise OutOfRange(
                f"the {name} of this layer was not kept",
                allowed=" or ".join(kept) or "another layer",
                fix="name the layer in `layers` when the image is recorded",
            )
        return part.floats() if isinstance(part, EightBit) else part

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Stream:
        """The stream with every tensor changed; None stays None."""

        def changed(part: torch.Tensor | EightBit | None) -> Any:
            if part is None:
                return None
            return part.each(change) if isinstance(part, EightBit) else change(part)

        return Stream(*(changed(getattr(self, name)) for name in PARTS))

    def rows(self, chosen: slice | torch.Tensor) -> Stream:
        """The stream of some rows of the batch, by a slice (tensors are not copied) or by indices."""
        return self.each(lambda x: x[chosen])

    def with_rows(self, others: Stream) -> Stream:
        """The stream of the rows of both, one after the other."""
        pairs = ((getattr(self, name), getattr(others, name)) for name in PARTS)
        return Stream(*(None if first is None else torch.cat((first, second)) for first, second in pairs))

    def tokens(self, chosen: slice) -> Stream:
        """The stream of some tokens; tensors are not copied."""
        return self.each(lambda x: x[:, :, chosen])


@dataclass(frozen=True)
class Kept:
    """Which parts of a stream are kept, in which layers.

    Args:
        layers: those that maps read
        parts: of these layers: query, key, value or output
        everywhere: of all layers
    """

    layers: tuple[int, ...]
    parts: tuple[str, ...]
    everywhere: tuple[str, ...] = ()

    def of(self, layer: int, stream: Stream) -> Stream:
        """The kept parts of a layer's stream, copied where the tensor belongs to a larger one."""
        names = (*self.everywhere, *(self.parts if layer in self.layers else ()))
        return Stream(*(getattr(stream, name) if name in names else None for name in PARTS)).each(alone)


def add_rows(layers: list[Rows], layer: int, rows: Rows, join: Callable[[Rows, Rows], Rows]) -> None:
    """Append the rows of a layer, or join them to the rows of the same layer that were added before."""
    if layer == len(layers):
        layers.append(rows)
    else:
        layers[layer] = join(layers[layer], rows)


def alone(x: torch.Tensor) -> torch.Tensor:
    """The tensor; a copy if it is a view that keeps a larger tensor in memory."""
    return x.clone() if x.untyped_storage().nbytes() > x.nbytes else x


def stream_recorder(
    streams: list[Stream],
    *,
    image_tokens: int,
    text_first: bool,
    last_layer: int,
    queries: bool = False,
    reference_tokens: int = 0,
    kept: Kept | None = None,
) -> Attend:
    """A function for `AttentionTap` that attends as the stock model does and adds the image stream to `streams`.

    It records layers 0 .. `last_layer`. With `queries` the image's queries are recorded too (for propagation through
    the image's self-attention, and for `attend_to_concepts`). Tokens of reference pictures, which follow those of the
    image in editing pipelines, are left out. `kept` says what is kept (default: all).
    """
    rows = slice(-image_tokens - reference_tokens, -reference_tokens or None) if text_first else slice(0, image_tokens)

    def attend(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        output = scaled_dot_product_attention(query, key, value, **options)
        if layer <= last_layer:
            image_parts = [repeat_kv(x, query.shape[1])[:, :, rows] for x in (key, value, output)]
            stream = Stream(query[:, :, rows] if queries else None, *image_parts)
            add_rows(streams, layer, stream if kept is None else kept.of(layer, stream), Stream.with_rows)
        return output

    return attend


def batch_rows(streams: Sequence[Stream]) -> int:
    """The number of rows of recorded streams."""
    return next(len(part) for stream in streams for name in PARTS if (part := getattr(stream, name)) is not None)


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
    kept: Kept | None = None,
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
        queries: record the image's queries too
        kept: what is kept of the recorded streams (default: all)
        stop_early: end the pass after the last layer
        observe: is shown the queries, keys and options of every joint attention

    Returns:
        The streams, and the model's output (None with `stop_early`).

    Raises:
        UserError: if the model's attention does not go through torch's scaled_dot_product_attention
    """
    streams: list[Stream] = []
    attend = stream_recorder(
        streams, image_tokens=image_tokens, text_first=text_first, last_layer=last_layer, queries=queries, kept=kept
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
