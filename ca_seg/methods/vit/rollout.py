"""Attention rollout: the attention of all blocks multiplied, with the residual connection as an identity.

A_b = rows of (mean over heads of the attention of block b + I), each divided by its sum
rollout = A_last ... A_2 A_1         (Abnar and Zuidema 2020, section 3)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.methods.card import MethodCard
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.network import VisionNetwork
from ca_seg.methods.vit.weights import SUPERVISED, open_network

CARD = MethodCard(
    name="rollout",
    summary="The attention of all blocks multiplied, with residual connections as identities.",
    paper="Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers (arXiv 2005.00928)",
    kind="supervised ViT",
    words="none",
    takes="model",
    weights=(SUPERVISED,),
    options=("resolution", "start_layer"),
)


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on ViT-B/16 of ImageNet."""
    network = open_network(CARD, inputs)
    start = checked_start(inputs.start_layer, network)

    def foreground(images: Tensor) -> Tensor:
        trace = network.run(images)
        return trace.image_row(rollout([attention.mean(dim=1) for attention in trace.attention[start:]]))

    return ForegroundPredictor(CARD.name, foreground, network.settings() | {"start_layer": start})


def rollout(matrices: Sequence[Tensor], *, normalise: bool = True) -> Tensor:
    """The product [B, N, N] of matrices [B, N, N] of the blocks in order, each plus the identity.

    Args:
        matrices: one for each block, the first block first
        normalise: divide each row by its sum after the identity is added
    """
    identity = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    product = identity.expand_as(matrices[0])
    for matrix in matrices:
        step = matrix + identity
        product = (step / step.sum(dim=-1, keepdim=True) if normalise else step) @ product
    return product


def checked_start(start_layer: int | None, network: VisionNetwork) -> int:
    """The first block that counts, 0 where none is given. Raises OutOfRange."""
    start = start_layer or 0
    if not 0 <= start < len(network.blocks):
        raise OutOfRange(f"start_layer is {start}", allowed=f"0 to {len(network.blocks) - 1}, a block of the network")
    return start
