"""GramCol: see `ca_seg/concept/readers/gramcol.py`. The layers are the published ones where there are some."""

from __future__ import annotations

from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.reader import AttentionReader, open_reader, reader_card
from ca_seg.methods.inputs import MethodInputs

CARD = reader_card(
    "gramcol",
    "Similarity of all image tokens to the one that matches a word best.",
    "Jun et al. 2026, IMAP (arXiv 2603.02919)",
)


# the layers in the authors' scripts, chosen by the second eigenvalue; of HunyuanVideo, layers of its double blocks
LAYERS = {
    "cogvideox-2b": (4, 6, 7, *range(10, 24)),
    "cogvideox-5b": (1, 2, 3, 4, 5, *range(7, 22), 23),
    "hunyuan-video": (1, 2, 4, 5, 6, 9, 10, 13, 15, 16, 17, 18, 19),
}


def gramcol_config(name: str) -> ReadoutConfig:
    """The settings for a backbone of the zoo: the published layers where there are some."""
    return ReadoutConfig(layers=LAYERS.get(name), reader="gramcol")


def open_predictor(inputs: MethodInputs) -> AttentionReader:
    """On the backbone that is given, by name or loaded; by default the one for photographs."""
    return open_reader(CARD, inputs, gramcol_config)
