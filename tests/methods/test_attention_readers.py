"""The readers of attention as methods give what the readout gives."""

from __future__ import annotations

import pytest
import torch

import ca_seg
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.methods.attention_readers.seg4diff import seg4diff_config
from tests.methods.small import Small

READERS = ("cross-attention", "seg4diff", "goca", "tokenrank", "gramcol")
SMALL = {name: Small(lambda: {"backbone": "mini", "resolution": 64}, ("cat", "grass", "sky")) for name in READERS}


@pytest.mark.parametrize("name", READERS)
def test_its_maps_are_those_of_the_readout(name):
    backbone = ca_seg.load_backbone("mini", resolution=64)
    image, words = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)), ["cat", "traffic light"]
    vocabulary = ca_seg.Vocabulary.from_names(words)
    config = {
        "cross-attention": ReadoutConfig(space="cross-attention"),
        "seg4diff": seg4diff_config("mini"),
        "goca": ReadoutConfig(reader="goca", prompt="all"),
        "tokenrank": ReadoutConfig(reader="tokenrank"),
        "gramcol": ReadoutConfig(reader="gramcol"),
    }[name]
    expected = config.record(backbone, image, [3], vocabulary=vocabulary).maps(vocabulary)
    maps = ca_seg.method(name, backbone=backbone).predict(image, words, seed=3)
    torch.testing.assert_close(maps, expected)
    assert not torch.equal(maps, ca_seg.method("concept-attention", backbone=backbone).predict(image, words, seed=3))


def test_the_published_layer_of_seg4diff():
    assert seg4diff_config("sd3-medium").layers == (9,)
