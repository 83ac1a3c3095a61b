"""Two other ways to ask FLUX.1's double blocks, to compare `ask_streams` with: as it was, and as short as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch.nn.functional import scaled_dot_product_attention, silu

from ca_seg.concept.record import Stream
from ca_seg.concept.tap import AttentionTap


def ask_before(
    model: FluxTransformer2DModel, attentions: Sequence[Any], call: dict[str, Any], image: Sequence[Stream], count: int
) -> list[torch.Tensor]:
    """The whole stock model over [concepts, dummy], with all of its weights: as up to version 0.2."""
    outputs = []

    def attend(layer: int, query: Any, key: Any, value: Any, options: dict[str, Any]) -> torch.Tensor:
        q, k, v = (x[:, :, :count] for x in (query, key, value))
        keys, values = torch.cat([k, image[layer].key], dim=2), torch.cat([v, image[layer].value], dim=2)
        output = scaled_dot_product_attention(q, keys, values, scale=options.get("scale"))
        outputs.append(output)
        joint = output.new_zeros(*output.shape[:2], query.shape[2], output.shape[3])
        joint[:, :, :count] = output
        return joint

    AttentionTap(attentions, attend, stop_after=len(image) - 1).run(model, call)
    return outputs


def modulation_of(model: FluxTransformer2DModel, temb: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Shift, scale and gate of the text in each double block, before the attention and before the feed-forward.

    `temb` is the embedding of timestep, guidance and pooled text.
    """
    return [block.norm1_context.linear(silu(temb))[:, None].chunk(6, dim=2) for block in model.transformer_blocks]


def ideal_ask(
    model: FluxTransformer2DModel,
    concepts: torch.Tensor,
    image: Sequence[Stream],
    modulation: Sequence[tuple[torch.Tensor, ...]],
) -> list[torch.Tensor]:
    """The text branch by hand. Concepts are at position 0, which the rotary embedding leaves as is."""
    outputs = []
    c = model.context_embedder(concepts)
    for block, stream, (shift, scale, gate, shift_mlp, scale_mlp, gate_mlp) in zip(
        model.transformer_blocks, image, modulation, strict=False
    ):
        attn, x = block.attn, block.norm1_context.norm(c) * (1 + scale) + shift
        q, k, v = (
            layer(x).unflatten(2, (attn.heads, -1)) for layer in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        )
        q, k, v = (y.transpose(1, 2) for y in (attn.norm_added_q(q), attn.norm_added_k(k), v))
        keys, values = torch.cat([k, stream.key], dim=2), torch.cat([v, stream.value], dim=2)
        outputs.append(scaled_dot_product_attention(q, keys, values))
        if len(outputs) == len(image):
            break
        c = c + gate * attn.to_add_out(outputs[-1].transpose(1, 2).flatten(2))
        c = c + gate_mlp * block.ff_context(block.norm2_context(c) * (1 + scale_mlp) + shift_mlp)
    return outputs
