"""Concept attention on a backbone of the zoo, at its card's settings: the method of this project's name."""

from __future__ import annotations

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "concept-attention",
    "Attention outputs of concept tokens that pass through a diffusion transformer beside its prompt.",
    "Helbling et al. 2025, ConceptAttention (arXiv 2502.04320)",
)


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, lambda name: ReadoutConfig())
