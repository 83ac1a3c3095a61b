"""Ask: run the same stock transformer with concepts instead of the prompt and one dummy token instead of the image.

sequence    [ concept 0 .. C-1 | dummy ]
attention   concepts attend to [ concepts | recorded image keys and values ]
dummy       its output is zeros, and nothing attends to it

The paper's ablation (table 4) changes what a concept attends to:

    both     [ concepts | image ]      the method
    cross    [ image ]
    self     [ concepts ]
    none     nothing: the output is the concept's value

Several vocabularies can be asked in one pass. The concepts of each attend to each other and to the image, and not to
those of another vocabulary, as if it were asked alone. They are asked of every recorded image, or each of one image:

    images        A                    B
    one row       [ a0 a1 ]            [ b0 b1 b2 ]           linear layers see [ a0 a1 b0 b1 b2 ]
    attends to    [ a0 a1 | A ]        [ b0 b1 b2 | B ]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from ca_seg.concept.linears import Linear
from ca_seg.concept.record import Kept, Stream, add_rows, repeat_kv
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError


@dataclass(frozen=True)
class Layout:
    """The joint sequence of an ask.

    text first     [ registers | concepts | dummy ]
    image first    [ dummy | concepts ]
    """

    concepts: int  # C
    text_first: bool
    registers: int = 0  # learned tokens that the model puts before the text; concepts do not attend to them
    groups: tuple[int, ...] = ()  # how many of the C concepts each vocabulary has; none: there is one vocabulary
    images: tuple[slice, ...] = ()  # the recorded rows that each vocabulary is asked of; none: all rows

    @property
    def concepts_slice(self) -> slice:
        """Where the concepts are."""
        start = self.registers if self.text_first else 1
        return slice(start, start + self.concepts)

    @property
    def group_slices(self) -> tuple[slice, ...]:
        """Where the concepts of each vocabulary are among all concepts."""
        ends = tuple(accumulate(self.groups or (self.concepts,)))
        return tuple(slice(start, end) for start, end in zip((0, *ends), ends, strict=False))


def ask_streams(
    model: nn.Module,
    attentions: Sequence[nn.Module],
    inputs: dict[str, Any],
    image: Sequence[Stream],
    layout: Layout,
    *,
    concept_attention: str = "both",
    linears: Linear = linear,
    kept: Kept | None = None,
    last_layer: int | None = None,
) -> list[Stream]:
    """The concept streams, layer by layer, for the recorded `image` streams.

    A mask from the model is ignored: it is about the padding of prompts, and concepts have no padding.

    Args:
        model: the stock transformer
        attentions: its joint attentions, layer by layer
        inputs: its arguments, with C concept tokens instead of the prompt and one image token
        image: the recorded streams of layers 0 .. last; each is read when its layer is asked
        layout: the joint sequence of this call
        concept_attention: what concepts attend to: both, cross, self or none
        linears: computes the linear layers (see `AskLinears`); default: all of them as in the stock model
        kept: what is kept of the concept streams (default: all)
        last_layer: the last layer to ask (default: the last one in `image`)

    Returns:
        One stream per layer, each [B, heads, C, head_dim].
    """
    streams: list[Stream] = []
    rows: Counter[int] = Counter()  # by layer, how many of the batch were asked

    def attend(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        heads, called = query.shape[1], slice(rows[layer], rows[layer] + len(query))
        rows[layer] = called.stop
        q, k, v = (repeat_kv(x, heads)[:, :, layout.concepts_slice] for x in (query, key, value))
        if concept_attention == "none":
            output = v
        else:
            outputs = []
            for number, group in enumerate(layout.group_slices):
                recorded = image[layer].rows(layout.images[number]) if layout.images else image[layer]
                recorded = recorded.rows(called)
                own_q, own_k, own_v = (x[:, :, group] for x in (q, k, v))
                keys, values = _keys_and_values(own_k, own_v, recorded, concept_attention, layout.text_first)
                outputs.append(scaled_dot_product_attention(own_q, keys, values, scale=options.get("scale")))
            output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        stream = Stream(q, k, v, output)
        add_rows(streams, layer, stream if kept is None else kept.of(layer, stream), Stream.with_rows)
        joint = output.new_zeros(*output.shape[:2], query.shape[2], output.shape[3])
        joint[:, :, layout.concepts_slice] = output
        return joint

    last_layer = len(image) - 1 if last_layer is None else last_layer
    AttentionTap(attentions, attend, stop_after=last_layer, linears=linears).run(model, inputs)
    return streams


def _keys_and_values(
    key: torch.Tensor, value: torch.Tensor, image: Stream, concept_attention: str, text_first: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values that concepts attend to, in the order of the model's sequence."""
    if concept_attention == "cross":
        return image.part("key"), image.part("value")
    if concept_attention == "self":
        return key, value
    pairs = ((key, image.part("key")), (value, image.part("value")))
    keys, values = (torch.cat(pair if text_first else pair[::-1], dim=2) for pair in pairs)
    return keys, values


def attend_to_concepts(image: Stream, concept: Stream) -> Stream:
    """The image stream with the output it would have if the image attended to [ image | concepts ], not to the prompt.

    This is not the paper's definition (section 4.1: the image never attends to concepts), but what its reference code
    reads from SD3. Raises UserError if the recording has no queries.
    """
    if image.query is None:
        raise UserError("the recording has no image queries", fix="record(..., queries=True)")
    keys, values = (torch.cat((image.part(name), concept.part(name)), dim=2) for name in ("key", "value"))
    return replace(image, output=scaled_dot_product_attention(image.query, keys, values))
