"""A module with a frozen source: it moves the source between devices, and neither registers nor copies it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ca_seg import load_backbone
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.features.frozen_module import Frozen


class FakeSource:
    """Stands for a source on a device that this machine may not have: records where it is sent."""

    name, channels, maps, stride = "fake", 1, 0, 1

    def __init__(self, device="cpu"):
        self.device, self.sent = torch.device(device), []

    def __call__(self, images, seeds):
        return images[:, :1]

    def identity(self):
        return {}

    def to(self, device):
        self.device = device
        self.sent.append(str(device))


class OnAccelerator(torch.Tensor):
    """What `.to("cuda:1")` would give on a machine that has one."""

    device = torch.device("cuda:1")


def test_a_source_moves_only_to_another_device_and_never_to_meta():
    source = FakeSource()
    model = nn.Sequential(nn.Conv2d(1, 1, 1), Frozen(source))
    model.double().to("cpu", torch.bfloat16).share_memory()
    model.to("meta")  # there a backbone would lose its weights
    model.to_empty(device="cpu")
    assert source.sent == []
    Frozen(source)._apply(lambda tensor: OnAccelerator())
    assert source.sent == ["cuda:1"]


def test_a_source_on_an_accelerator_follows_to_the_cpu(monkeypatch):
    source, empty = FakeSource("cuda:1"), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, device: empty(*size))  # as if there were such a device
    nn.Sequential(Frozen(source)).to("cpu")
    assert source.sent == ["cpu"]


def test_the_source_is_neither_registered_nor_copied():
    source = FrozenFeatures(load_backbone("mini"), ["cat", "dog"])
    module = Frozen(source)
    assert not list(module.parameters())
    assert not list(module.buffers())
    assert not module.state_dict()
    assert [*module.modules()] == [module]
    twin = copy.deepcopy(nn.Sequential(module, nn.Conv2d(1, 1, 1)))
    assert twin[0].source is source
    twin.train()
    assert not source.backbone.transformer.training
