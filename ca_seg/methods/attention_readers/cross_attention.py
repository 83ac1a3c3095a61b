"""The baseline of the ConceptAttention paper (table 1): products of image keys and concept queries, then a softmax."""

from __future__ import annotations

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "cross-attention",
    "Products of concept queries and image keys of a diffusion transformer, then a softmax over the classes.",
    "Helbling et al. 2025, ConceptAttention, its baseline (arXiv 2502.04320)",
)


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, lambda name: ReadoutConfig(space="cross-attention"))
