"""The shipped backbones: complete, checked, for any aspect ratio, and better than chance."""

from __future__ import annotations

import shutil

import pytest
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.generate import generate
from ca_seg.backbones.loading import hub
from ca_seg.backbones.loading.card import Card, find_card, list_backbones
from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import CorruptWeights, UnknownName, UserError, WeightsUnavailable
from ca_seg.resources import resource_path

SHIPPED = ("mini", "mini-plain", "photo", "photo-words")


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_agrees_with_the_model(name):
    card, backbone = find_card(name), load_backbone(name)
    assert sum(p.numel() for p in backbone.transformer.parameters()) == card.parameters
    assert type(backbone.transformer).__name__ == "FluxTransformer2DModel"
    assert {"data", "objective", "steps", "images", "seconds"} <= set(card.trained)
    assert max(card.layers) < len(backbone.transformer.transformer_blocks)


def test_the_shipped_checkpoints_are_small():
    files = [f for f in resource_path("checkpoints").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 96e6
    for_photographs = [f for f in files if {"photo", "photo-words"} & set(f.parts)]
    assert sum(f.stat().st_size for f in for_photographs) < 60e6
    assert not [f for f in files if f.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl")]


def test_maps_are_higher_on_their_class(mini):
    """In each of 12 scenes, each class's map is larger on its own pixels than off them."""
    dataset = open_dataset("scenes", split="in_distribution")
    right = total = 0
    for index in range(12):
        item = dataset[index]
        present = item["mask"].unique().tolist()
        maps = mini.maps(item["image"], Vocabulary.from_names([dataset.class_list.names[i] for i in present]))[0]
        for k, c in enumerate(present):
            inside = item["mask"] == c
            right += bool(maps[k][inside].mean() > maps[k][~inside].mean())
            total += 1
    assert right / total > 0.95


def test_any_shape_comes_back_in_its_own_size(mini):
    words = Vocabulary.from_names(["cat", "grass", "sky"])
    for height, width in ((90, 250), (250, 90), (31, 33), (1, 1)):
        maps = mini.maps(torch.rand(3, height, width), words)
        assert maps.shape == (1, 3, height, width)
        assert torch.isfinite(maps).all()


@pytest.mark.parametrize(
    "given", [{"seed": [0, 1]}, {"prompt": ["a", "b"]}, {"prompt_phrases": [["a"]]}, {"prompt": "a", "seed": []}]
)
def test_what_is_given_for_every_image_has_their_number(mini, given):
    with pytest.raises(UserError, match="for 3 images"):
        mini.record(torch.rand(3, 3, 32, 32), **given)


def test_a_synonym_gives_nearly_the_same_map(mini):
    dataset = open_dataset("scenes", split="in_distribution")
    names = dataset.class_list.names
    car = names.index("car")
    image = next(item for item in (dataset[i] for i in range(len(dataset))) if (item["mask"] == car).sum() > 300)
    other_classes = [names[i] for i in image["mask"].unique().tolist() if i != car]
    recording = mini.record(image["image"])
    word_map, synonym_map = (
        recording.ask(Vocabulary.from_names([word, *other_classes])).maps()[0, 0] for word in ("car", "automobile")
    )
    agreement = torch.corrcoef(torch.stack([word_map.flatten(), synonym_map.flatten()]))[0, 1]
    assert agreement > 0.7


def test_it_generates_with_the_stock_pipeline(mini):
    result = generate(mini, "a cat on grass", Vocabulary.from_names(["cat", "grass"]), height=64, width=96, steps=2)
    assert result.images[0].size == (96, 64)
    assert result.maps.shape == (1, 2, 64, 96)
    torch.testing.assert_close(result.maps.sum(dim=1), torch.ones(1, 64, 96))


def test_an_unknown_word_names_near_ones(mini):
    with pytest.raises(UnknownName, match="'zebra'"):
        mini.maps(torch.rand(3, 32, 32), Vocabulary.from_names(["zebr"]))


def test_changed_and_missing_files_are_named(tmp_path):
    card = find_card("mini")
    copy = tmp_path / "mini"
    shutil.copytree(resource_path("checkpoints", "mini"), copy)
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptWeights, match=file.name):
        hub.checked(card, copy)
    file.unlink()
    with pytest.raises(WeightsUnavailable, match=file.name):
        hub.checked(card, copy)


def test_a_shared_autoencoder_is_read_and_checked(tmp_path):
    """photo-words has no autoencoder of its own; a folder of the user's own weights has one."""
    photo, words = load_backbone("photo"), load_backbone("photo-words")
    assert not resource_path("checkpoints", "photo-words").joinpath("vae").exists()
    for ours, theirs in zip(words.autoencoder.parameters(), photo.autoencoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name in ("photo", "photo-words"):
        shutil.copytree(resource_path("checkpoints", name), tmp_path / name)
    file = tmp_path / "photo" / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptWeights, match=file.name):
        hub.checked(find_card("photo-words"), tmp_path / "photo-words")


@pytest.mark.parametrize("name", list_backbones())
def test_every_card_can_be_read(name):
    card = find_card(name)
    assert card.name == name
    assert bool(card.folder) != bool(card.hub)


def test_a_card_with_an_unknown_or_a_missing_key_raises(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nlayers: [1]\ntimstep: 0.5\n")
    with pytest.raises(UnknownName, match="'timestep'"):
        Card.read(file)
    file.write_text("name: x\nlayers: [1]\n")
    with pytest.raises(UserError, match=r"x\.yaml"):
        Card.read(file)
