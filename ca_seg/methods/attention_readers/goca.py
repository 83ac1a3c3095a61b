"""GoCA: see `ca_seg/concept/readers/goca.py`."""

from __future__ import annotations

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import ALL
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "goca",
    "Attention of the image to the words of its prompt, with weights of heads and layers and scaled at each token.",
    "Meng et al. 2026, Making Training-Free Diffusion Segmentors Scale (arXiv 2603.06178)",
)


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, lambda name: ReadoutConfig(reader="goca", prompt=ALL))
