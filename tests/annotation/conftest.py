"""A loaded backbone, and images on disk, for the tests of all annotation tools."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import ca_seg
from ca_seg.resources import resource_path

WORDS = ["dog", "grass", "sky"]


@pytest.fixture(scope="session")
def backbone():
    return ca_seg.load_backbone("mini")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Images that are not square: "a.jpg", "dogs/b c.png" and one that is cut short."""
    root = tmp_path_factory.mktemp("images")
    scenes = resource_path("datasets", "scenes", "images")
    (root / "dogs").mkdir()
    Image.open(scenes / "scene_0006.png").convert("RGB").resize((150, 110)).save(root / "a.jpg")
    Image.open(scenes / "scene_0003.png").convert("RGB").resize((96, 130)).save(root / "dogs" / "b c.png")
    (root / "broken.jpg").write_bytes((root / "a.jpg").read_bytes()[:900])
    return root
