"""A diffusers in which a family's classes are missing: that family raises an error with the reason, the others work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import diffusers
import pytest

from ca_seg import load_backbone
from ca_seg.backbones.families import registry
from ca_seg.backbones.loading.plan import plan
from ca_seg.errors import UserError

ROOT = Path(__file__).parents[2]
NEW = ("flux2", "qwenimage", "hunyuan_video", "hunyuan_image", "chroma", "cogview4")
NEW += ("hunyuan_video1_5", "longcat_image", "krea2", "lumina2", "ernie_image")


def test_a_missing_class_makes_one_family_unavailable(monkeypatch):
    """As in a diffusers without Qwen-Image."""
    exported = registry.is_exported
    monkeypatch.setattr(registry, "is_exported", lambda name: not name.startswith("Qwen") and exported(name))
    reason = registry.unavailable("qwen-image")
    for name in (diffusers.__version__, "QwenImageTransformer2DModel", "QwenImagePipeline"):
        assert name in reason
    assert registry.unavailable("flux") == ""
    with pytest.raises(UserError, match=r"qwen-image.*QwenImageTransformer2DModel"):
        plan("qwen-image", last_layer=3)
    assert load_backbone("mini").layers == 6


def test_every_family_is_imported_without_the_pipelines_of_a_newer_diffusers():
    code = f"""
import sys
for name in {NEW!r}:
    sys.modules["diffusers.pipelines." + name] = None
from ca_seg.backbones.families.registry import FAMILIES, find_family
import ca_seg
assert len([find_family(name) for name in FAMILIES]) >= 11 and ca_seg.load_backbone("mini").layers == 6
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
