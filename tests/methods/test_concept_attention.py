"""Concept attention as a method gives what the backbone gives."""

from __future__ import annotations

import pytest
import torch

import ca_seg
from ca_seg.backbones.images import resize_out
from ca_seg.errors import UnknownName, UserError
from tests.methods.small import Small

SMALL = {"concept-attention": Small(lambda: {"backbone": "mini", "resolution": 64})}


def test_its_maps_are_those_of_the_backbone():
    backbone = ca_seg.load_backbone("mini", resolution=64)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps = ca_seg.method("concept-attention", backbone=backbone).predict(image, ["cat", "grass"], seed=3)
    torch.testing.assert_close(resize_out(maps, 64, 96), backbone.maps(image, ["cat", "grass"], seed=3))


def test_words_outside_the_word_table_are_refused_before_an_image_is_read():
    with pytest.raises(UnknownName, match="xyzzy"):
        ca_seg.method("concept-attention", backbone="mini").predict("missing.jpg", ["xyzzy"])


def test_a_loaded_backbone_has_its_resolution():
    with pytest.raises(UserError, match="resolution"):
        ca_seg.method("concept-attention", backbone=ca_seg.load_backbone("mini"), resolution=64)
