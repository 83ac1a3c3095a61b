"""What a method is: other weights under the same name or path are another identity."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from ca_seg.backbones.load import load_backbone
from ca_seg.heads.trained import TrainedHead
from ca_seg.predictors import identity
from ca_seg.predictors.identity import files_identity, head_identity, method_identity, weights_identity
from ca_seg.predictors.settings import MethodSettings

MINI = MethodSettings(backbone="mini")


def head(**changes):
    torch.manual_seed(0)
    words = {"classes": ["cat", "grass"], "phrases": [["cat"], ["grass"]]}
    return TrainedHead(
        **({"kind": "linear", "backbone": "mini", "channels": 4, "parts": ["contrasts"]} | words | changes)
    )


def test_a_head_is_its_weights_and_its_reading():
    assert head_identity(head()) == head_identity(head())
    trained = head()
    with torch.no_grad():
        trained.head.layers[2].bias += 1
    others = [trained, head(resolution=64), head(phrase_pooling="last"), head(readout={"noise_samples": 2})]
    others += [head(phrases=[["cat"], ["lawn"]])]
    for other in others:
        assert head_identity(other) != head_identity(head())


def test_weights_that_ship_or_are_of_the_hub_are_not_read(monkeypatch):
    monkeypatch.setattr(identity, "files_identity", None)
    monkeypatch.setattr(identity, "weights_digest", None)
    assert weights_identity(MINI) == weights_identity(MINI) != weights_identity(replace(MINI, backbone="photo"))
    assert weights_identity(replace(MINI, backbone="flux1-dev"))["revision"]


def test_a_folder_is_its_content_and_a_huge_one_its_times(tmp_path, monkeypatch):
    (tmp_path / "transformer").mkdir()
    file = tmp_path / "transformer" / "a.safetensors"
    file.write_bytes(b"weights")
    model = replace(MINI, weights=str(tmp_path))
    former, stamp = weights_identity(model), (1, 1)
    os.utime(file, stamp)
    assert weights_identity(model) == former != weights_identity(MINI)
    file.write_bytes(b"WEIGHTS")
    os.utime(file, stamp)
    assert weights_identity(model) != former
    assert files_identity(file) == files_identity(file)
    monkeypatch.setattr(identity, "WHOLE", 3)
    monkeypatch.setattr(identity, "_content", None)  # nothing is read
    former = weights_identity(model)
    assert weights_identity(model) == former
    os.utime(file, (2, 2))
    assert weights_identity(model) != former


def test_a_loaded_backbone_is_its_weights_and_its_card():
    backbone = load_backbone("mini")
    former = method_identity(MINI, None, backbone)
    assert method_identity(MINI, None, load_backbone("mini")) == former
    assert method_identity(MINI, None, load_backbone("mini", resolution=64)) != former
    assert method_identity(MINI, None, load_backbone("mini", random_weights=True)) != former
    assert method_identity(MINI, head(), backbone) != former
