"""Seg4Diff: see `ca_seg/concept/readers/seg4diff.py`.

The layer is the published one where there is one, or one that was chosen on training pictures; otherwise the card's.
"""

from __future__ import annotations

from dataclasses import replace

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import ALL
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "seg4diff",
    "Attention of the image to the words of its prompt, in one layer.",
    "Kim et al. 2025, Seg4Diff (arXiv 2509.18096)",
)

EXPERT = {  # layer and noise level
    "sd3-medium": ReadoutConfig(layers=(9,), timesteps=(0.515,)),  # published: layer 9 of 24, noise step 8 of 28
}


def seg4diff_config(name: str) -> ReadoutConfig:
    """The settings for a backbone of the zoo."""
    return replace(EXPERT.get(name, ReadoutConfig()), reader="seg4diff", prompt=ALL)


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, seg4diff_config)
