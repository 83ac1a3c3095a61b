"""Attention as a Markov chain: see `ca_seg/concept/readers/tokenrank.py`."""

from __future__ import annotations

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "tokenrank",
    "Attention of concepts to the image, followed by self-attention, heads weighted by their second eigenvalue.",
    "Erel et al. 2025, Attention (as Discrete-Time Markov) Chains (arXiv 2507.17657)",
)


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, lambda name: ReadoutConfig(reader="tokenrank"))
