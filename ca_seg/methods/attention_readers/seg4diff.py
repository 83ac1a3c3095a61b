"""Seg4Diff: see `ca_seg/concept/readers/seg4diff.py`.

Layer and noise level are the published ones of Stable Diffusion 3 medium; on other backbones those of the card.
"""

from __future__ import annotations

from dataclasses import replace

from ca_seg.backbones.presets import SD3_EXPERT
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import ALL
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "seg4diff",
    "Attention of the image to the words of its prompt, in one layer.",
    "Kim et al. 2025, Seg4Diff (arXiv 2509.18096)",
)


def seg4diff_config(name: str) -> ReadoutConfig:
    """The settings for a backbone of the zoo."""
    config = ReadoutConfig(reader="seg4diff", prompt=ALL)
    return replace(config, **SD3_EXPERT) if name == "sd3-medium" else config


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, seg4diff_config)
