"""Masks of a clip equal those of resizing every map of every frame."""

from __future__ import annotations

import torch

from ca_seg.decision import argmax
from ca_seg.decision.clip import clip_masks


def test_masks_are_those_of_resizing_all_maps(monkeypatch):
    maps = torch.rand(4, 6, 5, 8, generator=torch.Generator().manual_seed(0))
    maps[2] = maps[1]  # two frames of one latent frame
    resized = torch.nn.functional.interpolate(maps, (150, 240), mode="bilinear", align_corners=False)
    expected = resized.argmax(dim=1).to(torch.uint8)
    assert torch.equal(clip_masks(maps, 150, 240), expected)
    monkeypatch.setattr(argmax, "MIN_SCORES_TO_PRUNE", 1)  # as for large frames
    assert torch.equal(clip_masks(maps, 150, 240), expected)
