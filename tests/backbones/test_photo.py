"""The backbone for photographs, on the photographs that ship."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.generate import generate
from ca_seg.backbones.loading.card import find_card
from ca_seg.data.catalogue import open_dataset
from ca_seg.resources import resource_path


@pytest.fixture(scope="module")
def photo():
    return load_backbone("photo")


def test_maps_are_higher_on_their_class(photo):
    """In 12 photographs, among the words that are present, most maps are larger on their own pixels than off them."""
    dataset = open_dataset("photographs")
    right = total = 0
    for index in range(12):
        item = dataset[index]
        present = [c for c in item["mask"].unique().tolist() if c != 255]
        names = [dataset.class_list.names[c] for c in present]
        maps = photo.maps(item["image"], Vocabulary.from_names(names))[0]
        for k, c in enumerate(present):
            inside = item["mask"] == c
            if 0.02 < inside.float().mean() < 0.98:
                right += bool(maps[k][inside].mean() > maps[k][~inside].mean())
                total += 1
    assert total > 20
    assert right / total > 0.85


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 450), (200, 90), (128, 128)])
def test_any_shape_comes_back_in_its_own_size(photo, height, width):
    maps = photo.maps(torch.rand(3, height, width), Vocabulary.from_names(["cat", "grass", "sky"]))
    assert maps.shape == (1, 3, height, width)
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("resolution", [128, 512])
def test_other_resolutions_can_be_asked_for(resolution):
    backbone = load_backbone("photo", resolution=resolution)
    maps = backbone.maps(torch.rand(3, 128, 160), ["cat", "grass"])
    assert maps.shape == (1, 2, 128, 160)


def test_segment_uses_it_unless_told_otherwise(tmp_path):
    file = tmp_path / "gray.png"
    Image.new("L", (70, 50), 90).save(file)
    words = ["cat", "grass"]
    assert (ca_seg.segment(file, words).mask == ca_seg.segment(file, words, backbone="photo").mask).all()


def test_it_generates_with_the_stock_pipeline(photo):
    result = generate(photo, "a cat on grass", ["cat", "grass"], height=64, width=96, steps=2)
    assert result.images[0].size == (96, 64)
    assert result.maps.shape == (1, 2, 64, 96)


def test_the_taught_words_are_words_of_the_table():
    taught = resource_path("checkpoints", "photo", "taught.txt").read_text(encoding="utf-8").split("\n")[:-1]
    table = set(resource_path("checkpoints", "words", "words.txt").read_text(encoding="utf-8").splitlines())
    assert set(taught) <= table
    assert {"sky", "person", "cat", "table"} <= set(taught)
    assert len(taught) > 500


def test_its_weights_are_at_most_30_megabytes():
    card = find_card("photo")
    files = [f for f in resource_path("checkpoints", card.folder).rglob("*") if f.suffix == ".safetensors"]
    assert sum(f.stat().st_size for f in files) <= 31e6
