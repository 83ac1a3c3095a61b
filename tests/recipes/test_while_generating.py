"""The agreement of a generation's maps with those of its picture, against a comparison pixel by pixel."""

from __future__ import annotations

import pytest
from PIL import Image

import ca_seg
from ca_seg.backbones.generate import last_layer_of
from ca_seg.backbones.loading.card import find_card
from recipes.while_generating import STEPS, figures


def test_figures_are_those_of_one_generation_counted_by_hand(tmp_path):
    words = ["cat", "grass"]
    backbone = ca_seg.load_backbone("mini", last_layer=last_layer_of(find_card("mini")))
    steps = []
    generated = ca_seg.generate(
        backbone, "a cat on grass", words, steps=STEPS, on_step=lambda _, maps: steps.append(maps)
    )
    generated.images[0].save(tmp_path / "picture.png")
    read = backbone.maps(Image.open(tmp_path / "picture.png"), words)[0]
    width, height = generated.images[0].size
    counts = dict.fromkeys(("agree", "cat in the maps", "cat in the picture"), 0)
    for row in range(height):
        for column in range(width):
            during, after = (m[:, row, column].argmax() == 0 for m in (generated.maps[0], read))
            counts["agree"] += int(during == after)
            counts["cat in the maps"] += int(during)
            counts["cat in the picture"] += int(after)
    result = figures("mini", ["cat"], ["grass"])
    pixels = width * height
    assert result["mean of the steps"] == pytest.approx(counts["agree"] / pixels, abs=1e-3)
    assert result["thing in the maps"] == pytest.approx(counts["cat in the maps"] / pixels, abs=1e-3)
    assert result["thing in the picture"] == pytest.approx(counts["cat in the picture"] / pixels, abs=1e-3)
    assert len(steps) == STEPS
    assert {f"after step {step + 1}" for step in range(STEPS)} < result.keys()
