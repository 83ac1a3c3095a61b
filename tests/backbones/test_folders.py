"""Folders in the diffusers layout, as the stock pipelines save them: read lean, quantised, and with cached words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones import load
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.loading import card as cards
from ca_seg.backbones.loading.parts import PartReader
from ca_seg.backbones.loading.profiles import find_profile
from ca_seg.errors import CorruptWeights, UnknownName, UserError, WeightsUnavailable
from tests.tiny_pipelines import LENGTH, MAKERS

WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
IMAGE = torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(1))


every_family = pytest.mark.parametrize("saved", MAKERS, indirect=True)


@pytest.fixture
def saved(request, tmp_path, monkeypatch):
    """A tiny pipeline, its folder, and its card with the tiny text length; an empty cache."""
    monkeypatch.setenv("CA_SEG_CACHE", str(tmp_path / "cache"))
    pipeline, name, _ = MAKERS[getattr(request, "param", "flux")]()
    pipeline.save_pretrained(tmp_path / "weights")
    real = cards.find_card(name)
    small = replace(real, text_tokens=LENGTH, layers=(0, 2))
    monkeypatch.setattr("ca_seg.backbones.load.find_card", lambda _: small)
    return pipeline, name, tmp_path


def _maps(backbone):
    return backbone.record(IMAGE, layers=[0, 2]).ask(WORDS).maps()


@every_family
def test_a_folder_gives_the_maps_of_its_pipeline(saved):
    pipeline, name, path = saved
    from_folder = load_backbone(name, weights=path / "weights", resolution=48)
    assert from_folder.layers == 3  # of Flux's 5, its 2 single-stream blocks are not read
    torch.testing.assert_close(_maps(from_folder), _maps(backbone_of(pipeline, name, resolution=48)))


@every_family
def test_words_are_cached_on_disk_and_the_encoders_not_loaded_again(saved, monkeypatch):
    _, name, path = saved
    first = _maps(load_backbone(name, weights=path / "weights", resolution=48))
    files = sorted((path / "cache" / "words").rglob("*.safetensors"))
    assert len(files) == 4  # three concepts and the empty prompt
    monkeypatch.setattr("ca_seg.backbones.loading.parts.text_pipeline", lambda *a: pytest.fail("encoders loaded"))
    assert torch.equal(_maps(load_backbone(name, weights=path / "weights", resolution=48)), first)
    monkeypatch.undo()


def test_a_broken_word_file_is_computed_again(saved, monkeypatch):
    _, name, path = saved
    first = _maps(load_backbone(name, weights=path / "weights", resolution=48))
    for file in (path / "cache" / "words").rglob("*.safetensors"):
        file.write_bytes(b"half a file")
    assert torch.equal(_maps(load_backbone(name, weights=path / "weights", resolution=48)), first)


def test_other_encoders_have_other_word_files(saved):
    _, name, path = saved
    _maps(load_backbone(name, weights=path / "weights", resolution=48))
    folders = list((path / "cache" / "words").iterdir())
    file = path / "weights" / "text_encoder" / "config.json"
    file.write_text(file.read_text() + "\n")
    _maps(load_backbone(name, weights=path / "weights", resolution=48))
    assert len(list((path / "cache" / "words").iterdir())) == len(folders) + 1


def test_without_a_writable_cache_loading_still_works(saved, monkeypatch):
    _, name, path = saved
    (path / "file").write_text("")
    monkeypatch.setenv("CA_SEG_CACHE", str(path / "file"))
    assert _maps(load_backbone(name, weights=path / "weights", resolution=48)).shape == (1, 3, 3, 5)


def test_text_encoders_are_freed_after_use(saved, monkeypatch):
    import weakref

    from ca_seg.backbones.loading import parts

    _, name, path = saved
    encoders = []
    real = parts.text_pipeline

    def recording_pipeline(*arguments):
        pipeline = real(*arguments)
        encoders.append(weakref.ref(pipeline.text_encoder))
        return pipeline

    monkeypatch.setattr(parts, "text_pipeline", recording_pipeline)
    _maps(load_backbone(name, weights=path / "weights", resolution=48))
    assert len(encoders) == 2  # once for the prompt, once for the vocabulary
    assert all(encoder() is None for encoder in encoders)


def test_an_unknown_precision_names_near_ones(saved):
    with pytest.raises(UnknownName, match="bnb-nf4"):
        load_backbone(saved[1], precision="bnb-nf")


def test_offload_on_a_cpu_raises(saved):
    with pytest.raises(UserError, match="group"):
        load_backbone(saved[1], weights=saved[2] / "weights", offload="group")


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("model_index.json", WeightsUnavailable),
        ("text_encoder/model.safetensors", CorruptWeights),
        ("tokenizer/tokenizer.json", CorruptWeights),
        ("vae/config.json", WeightsUnavailable),
        ("vae/diffusion_pytorch_model.safetensors", CorruptWeights),
        ("transformer/config.json", WeightsUnavailable),
    ],
)
def test_a_missing_file_is_named_by_its_folder(saved, file, error):
    _, name, path = saved
    (path / "weights" / file).unlink()
    with pytest.raises(error, match=file.split("/")[0]):
        _maps(load_backbone(name, weights=path / "weights", resolution=48))


def test_an_unexpected_class_in_a_config_raises(saved):
    _, name, path = saved
    for file, key, value in (
        ("transformer/config.json", "_class_name", "UNet2DModel"),
        ("vae/config.json", "_class_name", "Pickle"),
        ("scheduler/scheduler_config.json", "_class_name", "os"),
    ):
        config = path / "weights" / file
        before = config.read_text()
        config.write_text(json.dumps(json.loads(before) | {key: value}))
        with pytest.raises((CorruptWeights, WeightsUnavailable), match=value):
            load_backbone(name, weights=path / "weights", resolution=48)
        config.write_text(before)


def test_the_transformer_makes_room_for_the_text_encoders(saved, monkeypatch):
    """As on a GPU, which need not be present: the moves are recorded in order."""
    moves, transformer, card = [], torch.nn.Linear(1, 1), load.find_card("any")
    monkeypatch.setattr(transformer, "to", lambda device: moves.append(device))
    reader = PartReader(
        card,
        find_family(card.family),
        saved[2] / "weights",
        find_profile("fp32"),
        "cpu",
        offload=False,
        keep_layers=None,
    )
    text = reader.text(transformer, make_room=True)
    real = text._load
    text._load = lambda: (moves.append("encoders"), real())[1]
    text.concepts(["cat", "grass"], "first")
    assert moves == ["cpu", "encoders", "cpu"]
    text.concepts(["grass", "cat"], "mean")
    assert len(moves) == 3
