"""The contract of every head: every head in the registry is tested."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg import load_backbone
from ca_seg.errors import CorruptWeights, UnknownName, UserError, WeightsUnavailable
from ca_seg.heads.head import HeadInput
from ca_seg.heads.registry import HEADS, head_class, head_kinds
from ca_seg.heads.trained import TrainedHead, list_heads, load_head
from ca_seg.resources import resource_path

CLASSES = ["cat", "grass", "sky"]


def trained(kind: str, **options) -> TrainedHead:
    torch.manual_seed(0)
    return TrainedHead(
        kind=kind,
        backbone="mini",
        classes=CLASSES,
        phrases=[["cat", "kitten"], ["grass"], ["sky"]],
        channels=11,
        maps=3,
        parts=["concepts", "maps"],
        **options,
    )


def features(height: int = 5, width: int = 7, batch: int = 2) -> torch.Tensor:
    tensor = torch.randn(batch, 11, height, width, generator=torch.Generator().manual_seed(1))
    tensor[:, -3:] = tensor[:, -3:].softmax(dim=1)
    return tensor


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("size", [(40, 56), (33, 57), (5, 7)])
def test_logits_have_the_size_of_the_image(kind, size):
    logits = trained(kind).eval()(features(), size)
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("kind", HEADS)
def test_an_image_does_not_depend_on_its_batch(kind):
    head, both = trained(kind).eval(), features()
    alone = torch.cat([head(both[:1], (20, 28)), head(both[1:], (20, 28))])
    torch.testing.assert_close(head(both, (20, 28)), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", HEADS)
def test_every_weight_learns(kind):
    head, size = trained(kind).train(), (20, 28)
    mask = torch.randint(0, 3, (2, *size), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(head(features(), size), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_and_loaded_head_gives_the_same_logits(kind, tmp_path):
    head = trained(kind, readout={"layers": [1, 2], "timesteps": [0.1, 0.3]}).eval()
    head.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again = load_head(tmp_path, backbone="mini")
    assert torch.equal(again(features(), (40, 56)), head(features(), (40, 56)))
    assert again.vocabulary.phrases == (("cat", "kitten"), ("grass",), ("sky",))
    assert again.readout == {"layers": [1, 2], "timesteps": [0.1, 0.3]}
    assert torch.equal(TrainedHead.from_pretrained(tmp_path).eval()(features(), (9, 9)), head(features(), (9, 9)))


def test_a_head_of_a_former_version_loads(tmp_path, monkeypatch):
    head = trained("linear", readout={"layers": [1, 2], "noise_samples": 2, "layer_weights": [1.0, 3.0]}).eval()
    head.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "reading" not in config
    readout = config.pop("readout")
    config["reading"] = {"layers": [1, 2], "samples": 2, "weights": [1.0, 3.0]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda filename, **_: str(tmp_path / filename))
    for again in (load_head(tmp_path), TrainedHead.from_pretrained(tmp_path).eval(), load_head("somebody/a-head")):
        assert again.readout == readout == head.readout
        assert torch.equal(again(features(), (40, 56)), head(features(), (40, 56)))
        again.save_pretrained(tmp_path / "anew")
        saved = json.loads((tmp_path / "anew" / "config.json").read_text())
        assert saved["readout"] == readout
        assert "reading" not in saved
    (tmp_path / "config.json").write_text(json.dumps(config | {"reading": {"lairs": [1]}}))
    with pytest.raises(CorruptWeights, match="lairs"):
        load_head(tmp_path)


def test_shipped_heads_load_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list_heads() == sorted(folder.name for folder in resource_path("checkpoints", "heads").iterdir())
    for name in list_heads():
        by_name, by_path = load_head(name, backbone="mini"), load_head(f"checkpoints/heads/{name}")
        assert by_name.kind in head_kinds()
        for key, value in by_name.state_dict().items():
            assert torch.equal(by_path.state_dict()[key], value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable) as problem:
        load_head("mini-scenes-liner")
    assert "mini-scenes-linear" in problem.value.allowed
    shutil.copytree(resource_path("checkpoints", "heads", "mini-scenes-upsampling"), tmp_path / "mini-scenes-linear")
    assert load_head("mini-scenes-linear").kind == "convex-upsampling"  # an existing folder takes precedence


def test_images_are_segmented_in_any_form():
    head, backbone = load_head("mini-scenes-linear"), load_backbone("mini")
    file = next((resource_path("datasets", "scenes") / "images").iterdir())
    image = Image.open(file).convert("RGB")
    mask = head.segment(backbone, image)
    assert mask.shape == (1, image.height, image.width)
    assert mask.dtype == torch.int64
    array = np.array(image)
    tensor = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    for same_image in (array, tensor, tensor[None], [image]):
        assert torch.equal(head.segment(backbone, same_image), mask)
    expected = head(head.features_of(backbone)(tensor[None], [0]), mask.shape[1:]).argmax(dim=1)
    assert torch.equal(mask, expected)


def test_a_head_that_cannot_be_loaded_raises(tmp_path):
    trained("linear").save_pretrained(tmp_path)
    with pytest.raises(CorruptWeights, match=r"'mini'.*'flux1-dev'"):
        load_head(tmp_path, backbone="flux1-dev")
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(CorruptWeights, match=re.escape(str(tmp_path))):
        load_head(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"model\.safetensors"):
        load_head(tmp_path)


@pytest.mark.parametrize("change", [{"channels": 12}, {"shape": 1}, {"classes": ["cat", "cat", "sky"]}])
def test_a_config_that_does_not_fit_raises(change, tmp_path):
    trained("linear").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CorruptWeights, match=re.escape(str(tmp_path))):
        load_head(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"kind": "linear"}'])
def test_a_config_of_something_else_is_named(content, tmp_path):
    trained("linear").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CorruptWeights, match=r"config\.json.*classes") as problem:
        load_head(tmp_path)
    assert "__init__" not in str(problem.value)


def test_unknown_kinds_and_missing_classes_are_named():
    with pytest.raises(UnknownName, match="'linear'"):
        trained("linaer")
    with pytest.raises(UserError, match="dog"):
        trained("linear").class_indices(["cat", "dog"])
    assert trained("linear").class_indices(["sky", "cat"]) == [2, 0]


def test_the_zero_shot_head_needs_maps():
    with pytest.raises(UserError, match="maps"):
        head_class("zero-shot-linear")(HeadInput(11, 3, 0))


def test_at_step_0_the_probabilities_are_the_maps():
    head, tokens = trained("zero-shot-linear").train(), features()
    torch.testing.assert_close(head.head.tokens(tokens).softmax(dim=1), tokens[:, -3:], atol=1e-6, rtol=0)
    upsampled = torch.nn.functional.interpolate(tokens[:, -3:], (40, 56), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(tokens, (40, 56)).softmax(dim=1), upsampled, atol=1e-6, rtol=0)


def test_upsampling_starts_bilinear_and_trains_on_the_classes_in_the_batch():
    torch.manual_seed(0)
    head, tokens = head_class("convex-upsampling")(HeadInput(11, 3, 3, stride=8)).eval(), features()
    bilinear = torch.nn.functional.interpolate(tokens[:, -3:], scale_factor=8, mode="bilinear", align_corners=False)
    probabilities = head(tokens, (40, 56)).exp()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 40, 56), atol=1e-5, rtol=0)
    assert (probabilities - bilinear).abs().max() < 0.09  # 9 neighbours, each opened by 0.01
    torch.nn.init.normal_(head.net[-1].weight)
    mask = torch.full((2, 40, 56), 2)
    mask[0, :9], mask[1, 3:] = 255, 0
    reduced, renamed = head.for_training(tokens, mask)
    assert reduced.shape[1] == 8 + 3  # two classes in the batch, and the rest
    torch.testing.assert_close(
        torch.nn.functional.cross_entropy(head(reduced, (40, 56)), renamed, ignore_index=255),
        torch.nn.functional.cross_entropy(head(tokens, (40, 56)), mask, ignore_index=255),
        atol=1e-5,
        rtol=1e-5,
    )
