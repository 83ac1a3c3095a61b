"""What the class token attends to in the last block: the maps of raw attention, DINO, DINOv2 and iBOT.

attention of the last block [B, heads, N, N] ──mean over heads──► row of the class token, patches only ──► [B, h, w]
"""

from __future__ import annotations

import torch

from ca_seg.methods.card import MethodCard
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.network import VisionNetwork
from ca_seg.methods.vit.weights import open_network


def last_attention(network: VisionNetwork, images: torch.Tensor) -> torch.Tensor:
    """The class token's attention in the last block, mean over heads [B, rows, columns]; registers are left out."""
    trace = network.run(images)
    return trace.image_row(trace.attention[-1].mean(dim=1))


def open_last_attention(
    card: MethodCard, inputs: MethodInputs, *, resolution: int | None = None
) -> ForegroundPredictor:
    """The predictor on the given model or on the card's weights, read at `resolution` where none is given."""
    return last_attention_of(open_network(card, inputs, resolution=resolution), card)


def last_attention_of(network: VisionNetwork, card: MethodCard) -> ForegroundPredictor:
    """The predictor on an open network."""
    return ForegroundPredictor(card.name, lambda images: last_attention(network, images), network.settings())
