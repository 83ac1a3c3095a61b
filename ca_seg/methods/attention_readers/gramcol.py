"""GramCol: see `ca_seg/concept/readers/gramcol.py`. The layers are the published ones where there are some."""

from __future__ import annotations

from ca_seg.backbones.presets import GRAMCOL_LAYERS
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "gramcol",
    "Similarity of all image tokens to the one that matches a word best.",
    "Jun et al. 2026, IMAP (arXiv 2603.02919)",
)


def gramcol_config(name: str) -> ReadoutConfig:
    """The settings for a backbone of the zoo: the published layers where there are some."""
    return ReadoutConfig(layers=GRAMCOL_LAYERS.get(name), reader="gramcol")


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, gramcol_config)
