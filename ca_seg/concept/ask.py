"""Ask: run the same stock transformer with concepts in the prompt's place and one dummy for the image.

sequence    [ concept 0 .. C-1 | dummy ]
attention     concepts look at [ concepts | recorded image keys and values ]
dummy         is given zeros, and nobody looks at it

What a concept may look at is the paper's ablation (table 4):

    both     [ concepts | image ]      the method
    cross    [ image ]
    self     [ concepts ]
    none     nothing: the output is the concept's own value
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.record import Stream, repeat_kv
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError

CONCEPT_ATTENTION = ("both", "cross", "self", "none")
IMAGE_OUTPUT = ("stock", "concepts")


@dataclass(frozen=True)
class Layout:
    """Where things are in the joint sequence of an ask.

    text first     [ registers | concepts | dummy ]
    image first    [ dummy | concepts ]
    """

    concepts: int  # C
    text_first: bool
    registers: int = 0  # learned tokens that the model itself puts before the text; concepts do not look at them

    @property
    def own(self) -> slice:
        start = self.registers if self.text_first else 1
        return slice(start, start + self.concepts)


def ask_streams(
    model: nn.Module,
    attentions: Sequence[nn.Module],
    inputs: dict[str, Any],
    image: Sequence[Stream],
    layout: Layout,
    *,
    concept_attention: str = "both",
) -> list[Stream]:
    """The concept streams, layer by layer, for the recorded `image` streams.

    `inputs` are the model's own arguments with C concept tokens in the prompt's place and one image token. A mask that
    the model passes is about a prompt's padding, of which concepts have none: it is not used.
    """
    streams: list[Stream] = []

    def attend(
        layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        heads = query.shape[1]
        q, k, v = (repeat_kv(x, heads)[:, :, layout.own] for x in (query, key, value))
        if concept_attention == "none":
            output = v
        else:
            keys, values = _seen(k, v, image[layer], concept_attention, layout.text_first)
            output = scaled_dot_product_attention(q, keys, values, scale=options.get("scale"))
        streams.append(Stream(q, k, v, output))
        joint = output.new_zeros(*output.shape[:2], query.shape[2], output.shape[3])
        joint[:, :, layout.own] = output
        return joint

    AttentionTap(attentions, attend, stop_after=len(image) - 1).run(model, inputs)
    return streams


def _seen(
    key: torch.Tensor, value: torch.Tensor, image: Stream, concept_attention: str, text_first: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values that concepts look at, in the order of the model's own sequence."""
    if concept_attention == "cross":
        return image.key, image.value
    if concept_attention == "self":
        return key, value
    pairs = ((key, image.key), (value, image.value))
    keys, values = (torch.cat(pair if text_first else pair[::-1], dim=2) for pair in pairs)
    return keys, values


def attend_to_concepts(image: Stream, concept: Stream) -> Stream:
    """The image stream with the output that it would have if it looked at [ image | concepts ] and not at the prompt.

    Not the paper's definition (section 4.1: the image never sees the concepts), but what its reference code reads from
    SD3. Raises UserError when the recording kept no queries.
    """
    if image.query is None:
        raise UserError("the recording kept no image queries", fix="record(..., queries=True)")
    keys, values = torch.cat((image.key, concept.key), dim=2), torch.cat((image.value, concept.value), dim=2)
    return replace(image, output=scaled_dot_product_attention(image.query, keys, values))
