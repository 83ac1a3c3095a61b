"""FLUX.1 from files in the diffusers layout: names, shapes, lean reading, and every kind of wrong file."""

from __future__ import annotations

import json
import socket
import ssl
from http.client import BadStatusLine
from urllib.error import HTTPError, URLError

import pytest
import torch
from diffusers import FluxTransformer2DModel
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.partial import INDEX, SINGLE, build, read_into
from ca_seg.errors import CorruptWeights, OutOfRange, UnknownName, UserError, WeightsUnavailable
from ca_seg.heads.trained import TrainedHead, load_head
from tests.small_flux import RandomText, small_autoencoder, small_flux

FLUX = find_family("flux")
PUBLISHED = {
    "schnell": {"guidance_embeds": False},
    "dev": {"guidance_embeds": True},
}  # the rest are the class's defaults


@pytest.fixture
def folder(tmp_path):
    small_flux().save_pretrained(tmp_path / "transformer", max_shard_size="100KB")
    return tmp_path


def test_sharded_files_are_read_up_to_the_last_wanted_block_only(folder, monkeypatch):
    part = folder / "transformer"
    config = json.loads((part / "config.json").read_text())
    shards = json.loads((part / INDEX).read_text())["weight_map"]
    late = {n for n in shards if n.startswith(("single_transformer_blocks.", "transformer_blocks.2."))}
    assert len({shards[n] for n in late}) > 1
    read = []
    monkeypatch.setattr(
        "ca_seg.backbones.loading.partial.safe_open", lambda f, **k: _ReadNames(safe_open(f, **k), read)
    )
    lean = read_into(build(FLUX, config, 2), part, torch.float32)
    assert not late & set(read)
    whole = small_flux().state_dict()
    assert set(lean.state_dict()) == set(whole) - late == set(read)
    for name, tensor in lean.state_dict().items():
        assert torch.equal(tensor, whole[name])


class _ReadNames:
    def __init__(self, file, read):
        self.file, self.read = file, read

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *exc):
        return self.file.__exit__(*exc)

    def keys(self):
        return self.file.keys()

    def get_tensor(self, name):
        self.read.append(name)
        return self.file.get_tensor(name)


def test_a_lean_backbone_gives_the_maps_of_the_whole_model(folder):
    parts = {"autoencoder": small_autoencoder(), "text": RandomText(), "resolution": 48}
    lean = load_backbone("flux1-schnell", weights=folder, last_layer=1, **parts)
    assert lean.layers == 2
    whole = load_backbone("flux1-schnell", transformer=small_flux(), **parts)
    image, words = torch.rand(1, 3, 48, 80), Vocabulary.from_names(["cat", "grass"])
    lean_maps, expected = (b.record(image, layers=[0, 1]).ask(words).maps() for b in (lean, whole))
    torch.testing.assert_close(lean_maps, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_published_architecture_has_the_cards_parameters_and_every_name_that_is_read(variant):
    config = PUBLISHED[variant]
    with torch.device("meta"):
        whole = FluxTransformer2DModel(**config)
    card = find_card(f"flux1-{variant}")
    assert sum(p.numel() for p in whole.parameters()) == card.parameters
    shapes = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    lean = build(FLUX, dict(whole.config), max(card.layers) + 1)
    wanted = {name: tensor.shape for name, tensor in lean.state_dict().items()}
    assert wanted.items() <= shapes.items()
    unread = set(shapes) - set(wanted)
    assert all(n.startswith(("transformer_blocks.18.", "single_transformer_blocks.")) for n in unread)
    assert build(FLUX, dict(whole.config)).state_dict().keys() == shapes.keys()


def test_a_truncated_file_is_named(folder):
    shard = sorted((folder / "transformer").glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(CorruptWeights, match=shard.name):
        load_backbone("flux1-schnell", weights=folder, last_layer=4, autoencoder=small_autoencoder(), text=RandomText())


def test_a_missing_shard_and_missing_weights_are_named(folder):
    shard = sorted((folder / "transformer").glob("*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(WeightsUnavailable, match=shard.name):
        load_backbone("flux1-schnell", weights=folder, last_layer=4, autoencoder=small_autoencoder(), text=RandomText())
    with pytest.raises(WeightsUnavailable, match="nowhere"):
        load_backbone("flux1-schnell", weights=folder / "nowhere")


def test_the_weights_of_another_model_raise(folder):
    part = folder / "transformer"
    small_flux().save_pretrained(part, max_shard_size="1GB")
    (part / INDEX).unlink(missing_ok=True)
    state = load_file(part / SINGLE)
    state["x_embedder.weight"] = torch.zeros(3, 3)
    save_file(state, part / SINGLE)
    with pytest.raises(CorruptWeights, match=r"x_embedder\.weight.*\(3, 3\).*\(64, 16\)"):
        load_backbone("flux1-schnell", weights=folder, last_layer=4, autoencoder=small_autoencoder(), text=RandomText())


def test_an_index_may_not_point_outside_its_folder(folder):
    index = folder / "transformer" / INDEX
    content = json.loads(index.read_text())
    content["weight_map"] = {name: f"../{file}" for name, file in content["weight_map"].items()}
    index.write_text(json.dumps(content))
    with pytest.raises(WeightsUnavailable, match="shard"):
        load_backbone("flux1-schnell", weights=folder, last_layer=4, autoencoder=small_autoencoder(), text=RandomText())


def test_an_unknown_backbone_names_near_ones():
    with pytest.raises(UnknownName, match="flux1-schnell"):
        load_backbone("flux1-schnel")


def test_gated_weights_out_of_reach_name_the_licence(monkeypatch):
    def refuse(*args, **kwargs):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("ca_seg.backbones.loading.hub.hub_answers", lambda: False)
    monkeypatch.setattr("ca_seg.backbones.loading.hub.snapshot_download", refuse)
    with pytest.raises(WeightsUnavailable, match=r"black-forest-labs/FLUX\.1-dev.*weights=FOLDER"):
        load_backbone("flux1-dev")


@pytest.mark.parametrize("last_layer", [-1, 5, 99])
def test_a_layer_out_of_range_raises_before_anything_is_read(folder, last_layer, monkeypatch):
    monkeypatch.setattr("ca_seg.backbones.loading.parts.read_quantised", lambda *a: pytest.fail("read"))
    with pytest.raises(OutOfRange, match=rf"{last_layer}\b.*0 to 4"):
        load_backbone(
            "flux1-schnell", weights=folder, last_layer=last_layer, autoencoder=small_autoencoder(), text=RandomText()
        )


@pytest.mark.parametrize(
    ("problem", "answers"),
    [
        (URLError(socket.gaierror("name or service not known")), False),
        (URLError(ConnectionRefusedError()), False),
        (TimeoutError(), False),
        (HTTPError("https://hub", 503, "Service Unavailable", None, None), True),
        (URLError(ssl.SSLError("certificate")), True),
        (BadStatusLine("?"), True),
    ],
)
def test_without_a_network_the_hub_is_asked_once(monkeypatch, problem, answers):
    """Its library would ask six times; an answer of any kind means that there is a network."""

    def ask(request, timeout):
        raise problem

    def download(*_, local_files_only, **__):
        assert local_files_only is not answers
        raise LocalEntryNotFoundError("not cached")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("ca_seg.pretrained.urlopen", ask)
    monkeypatch.setattr("ca_seg.backbones.loading.hub.snapshot_download", download)
    monkeypatch.setattr(TrainedHead, "from_pretrained", download)
    for load in (lambda: load_backbone("flux1-schnell"), lambda: load_head("owner/name")):
        with pytest.raises(WeightsUnavailable, match="not cached" if answers else "cannot be reached"):
            load()


def test_weights_of_a_smaller_model_are_named(folder):
    with pytest.raises(OutOfRange, match="5 blocks") as error:
        load_backbone("flux1-schnell", weights=folder, autoencoder=small_autoencoder(), text=RandomText())
    assert "weights" in error.value.fix


def test_an_unknown_device_is_named():
    with pytest.raises(UserError, match="teapot"):
        load_backbone("mini", device="teapot")


def test_a_ready_transformer_is_not_downloaded_again(monkeypatch, tmp_path):
    asked = {}

    def download(repository, revision, allow_patterns, local_files_only):
        asked.update(patterns=allow_patterns, revision=revision)
        return str(tmp_path)

    monkeypatch.setattr("ca_seg.backbones.loading.hub.hub_answers", lambda: True)
    monkeypatch.setattr("ca_seg.backbones.loading.hub.snapshot_download", download)
    with pytest.raises(WeightsUnavailable, match="vae"):
        load_backbone("flux1-schnell", transformer=small_flux(), text=RandomText())
    assert asked == {"patterns": ["vae/*", "scheduler/*"], "revision": find_card("flux1-schnell").revision}


def test_a_broken_autoencoder_is_named(folder):
    small_autoencoder().save_pretrained(folder / "vae")
    parts = {"weights": folder, "last_layer": 1, "text": RandomText(), "resolution": 48}
    assert load_backbone("flux1-schnell", **parts).encode(torch.rand(1, 3, 48, 80)).shape == (1, 4, 6, 10)
    file = folder / "vae" / SINGLE
    whole = load_file(file)
    save_file({k: v for k, v in whole.items() if k != "encoder.conv_in.weight"}, file)
    with pytest.raises(CorruptWeights, match=r"vae.*encoder\.conv_in\.weight"):
        load_backbone("flux1-schnell", **parts)
    file.write_bytes(b"12345678")
    with pytest.raises(CorruptWeights, match="vae"):
        load_backbone("flux1-schnell", **parts)


def test_random_weights_keep_only_the_wanted_blocks(folder):
    parts = {"weights": folder, "autoencoder": small_autoencoder(), "text": RandomText()}
    assert load_backbone("flux1-schnell", last_layer=1, random_weights=True, **parts).layers == 2
