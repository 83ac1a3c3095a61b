"""A diffusers in which a family's classes are missing: that family says why, the others work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import diffusers
import pytest

from ca_seg import load_backbone
from ca_seg.backbones.families.registry import FAMILIES, unavailable
from ca_seg.backbones.loading.plan import plan
from ca_seg.errors import UserError

ROOT = Path(__file__).parents[2]
NEW = ("flux2", "qwenimage", "hunyuan_video", "hunyuan_image", "chroma", "cogview4")


class Older:
    """diffusers without Qwen-Image."""

    __version__ = "0.34.0"

    def __getattr__(self, name):
        if name.startswith("Qwen"):
            raise AttributeError(name)
        return getattr(diffusers, name)


def test_a_missing_class_makes_one_family_unavailable(monkeypatch):
    monkeypatch.setattr("ca_seg.backbones.families.registry.diffusers", Older())
    assert unavailable(FAMILIES["qwen-image"]) == (
        "diffusers 0.34.0 has no QwenImageTransformer2DModel and no QwenImagePipeline"
    )
    assert unavailable(FAMILIES["flux"]) == ""
    with pytest.raises(UserError, match=r"qwen-image cannot be used.*QwenImageTransformer2DModel.*upgrade diffusers"):
        plan("qwen-image", last_layer=3)
    assert load_backbone("mini").layers == 6


def test_every_family_is_imported_without_the_pipelines_of_a_newer_diffusers():
    code = f"""
import sys
for name in {NEW!r}:
    sys.modules["diffusers.pipelines." + name] = None
from ca_seg.backbones.families.registry import FAMILIES
import ca_seg
assert len(FAMILIES) >= 11 and ca_seg.load_backbone("mini").layers == 6
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
