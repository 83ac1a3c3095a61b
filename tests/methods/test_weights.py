"""Real weights: the right repository is asked, and what cannot be reached is one error. Nothing is downloaded."""

from __future__ import annotations

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import ca_seg
from ca_seg.errors import CorruptWeights, UserError, WeightsUnavailable
from ca_seg.methods.registry import find_method
from tests.methods.small import Small
from tests.methods.small_vit import images, small_vit

SMALL = {"ibot": Small(lambda: {"model": small_vit(num_classes=0)})}
VIT = ["vit-attention", "rollout", "gradcam", "lrp", "partial-lrp", "transinterp"]
SELF_SUPERVISED = {"dino": 480, "dinov2": 518, "dinov2-reg": 518}


@pytest.mark.parametrize("name", [*VIT, *SELF_SUPERVISED])
def test_the_cards_weights_are_asked_for(name, monkeypatch):
    asked = {}

    def create(where, *, pretrained, dynamic_img_size):
        asked.update(where=where, pretrained=pretrained)
        return small_vit(num_classes=1000, dynamic_img_size=dynamic_img_size)

    monkeypatch.setattr(timm, "create_model", create)
    settings = ca_seg.method(name).predictor.settings()
    assert asked == {"where": f"hf-hub:{find_method(name).weights[0].repository}@main", "pretrained": True}
    assert settings["size"] == SELF_SUPERVISED.get(name, [32, 32])


@pytest.mark.parametrize("name", [*VIT, *SELF_SUPERVISED])
def test_every_repository_is_a_model_of_timm(name):
    """timm knows the architecture and the tag of the weights, so that the name has no misprint."""
    repository = find_method(name).weights[0].repository
    assert repository.removeprefix("timm/") in timm.list_pretrained()


def test_weights_that_cannot_be_reached_are_named_with_their_licence(monkeypatch):
    def create(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(WeightsUnavailable, match=r"vit_small_patch8_224.dino.*Apache-2.0.*no connection.*model="):
        ca_seg.method("dino")


def test_without_a_network_no_library_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr("ca_seg.methods.weights.hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(WeightsUnavailable, match=r"vit_small_patch8_224.dino.*not in its cache"):
        ca_seg.method("dino")


def ibot_file(folder, prefix="module.backbone.", key="teacher"):
    """A checkpoint in the layout of the authors, of one block with a head of 64 channels."""
    model = small_vit(embed_dim=64, depth=1, num_heads=1, num_classes=0, dynamic_img_size=True)
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {"module.head.last_layer.weight": torch.ones(2), f"{prefix}masked_embed": torch.ones(1, 64)}
    file = folder / "checkpoint_teacher.pth"
    torch.save({key: state} if key else state, file)
    return model, file


@pytest.mark.parametrize(("prefix", "key"), [("module.backbone.", "teacher"), ("", "state_dict"), ("", None)])
def test_ibot_reads_the_authors_file(tmp_path, prefix, key):
    model, file = ibot_file(tmp_path, prefix, key)
    maps = ca_seg.method("ibot", weights=file, resolution=32).predict(images(), ["cat"])
    torch.testing.assert_close(maps, ca_seg.method("ibot", model=model).predict(images(), ["cat"]))


def test_ibot_without_a_file_says_where_it_is(tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"Apache-2.0.*github.com/bytedance/ibot"):
        ca_seg.method("ibot")
    with pytest.raises(WeightsUnavailable, match="missing"):
        ca_seg.method("ibot", weights=tmp_path / "none.pth")
    with pytest.raises(UserError, match="both"):
        ca_seg.method("ibot", weights=tmp_path / "none.pth", model=small_vit())


@pytest.mark.parametrize("content", [{"teacher": {"a": torch.ones(1)}}, [1, 2], "text", {}])
def test_another_file_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CorruptWeights, match="iBOT"):
        ca_seg.method("ibot", weights=tmp_path / "other.pth")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(CorruptWeights, match="iBOT"):
        ca_seg.method("ibot", weights=tmp_path / "text.pth")
