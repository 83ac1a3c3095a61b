"""Ask: run the same stock transformer with concepts in the prompt's place and one dummy for the image.

sequence    [ concept 0 .. C-1 | dummy ]
attention     concepts look at [ concepts | recorded image keys and values ]
dummy         is given zeros, and nobody looks at it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.concept.record import Stream
from ca_seg.concept.tap import AttentionTap


def ask_streams(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    inputs: dict[str, Any],
    image: Sequence[Stream],
    *,
    concepts: int,
    text_first: bool,
) -> list[Stream]:
    """The concept streams, layer by layer, for the recorded `image` streams.

    `inputs` are the model's own arguments with `concepts` concept tokens in the prompt's place and one image token.
    """
    streams: list[Stream] = []

    def attend(layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        own = slice(0, concepts) if text_first else slice(query.shape[2] - concepts, None)
        q, k, v = query[:, :, own], key[:, :, own], value[:, :, own]
        order = (lambda c, i: (c, i)) if text_first else (lambda c, i: (i, c))
        keys = torch.cat(order(k, image[layer].key), dim=2)
        values = torch.cat(order(v, image[layer].value), dim=2)
        output = scaled_dot_product_attention(q, keys, values)
        streams.append(Stream(q, k, v, output))
        dummy = output.new_zeros(*output.shape[:2], query.shape[2] - concepts, output.shape[3])
        return torch.cat(order(output, dummy), dim=2)

    AttentionTap(blocks, attend, stop_after=len(image) - 1).run(model, inputs)
    return streams
