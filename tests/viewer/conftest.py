"""A photograph, `mini`, and one tab."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import ca_seg
from ca_seg.backbones.backbone import Backbone
from ca_seg.resources import resource_path
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.settings import ViewSettings
from ca_seg.viewer.tab import Tab, Tabs

START = ViewSettings(backbone="mini", max_megapixels=1.0, max_words=20, max_frames=3, max_recordings=3)


@pytest.fixture(scope="session")
def mini() -> Backbone:
    return ca_seg.load_backbone("mini")


@pytest.fixture
def backbones(mini: Backbone) -> Backbones:
    loaded = Backbones("cpu")
    loaded.put(START, mini)
    return loaded


@pytest.fixture
def tabs(tmp_path: Path) -> Tabs:
    return Tabs(START, {}, tmp_path)


@pytest.fixture
def tab(tabs: Tabs) -> Tab:
    return tabs.of("one")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene as a photograph: not square, JPEG, a space in its name."""
    file = tmp_path_factory.mktemp("photo") / "my photo.jpg"
    scene = resource_path("datasets", "scenes", "images") / "scene_0006.png"
    Image.open(scene).convert("RGB").resize((230, 170)).save(file)
    return file


def start(**options: object) -> ViewSettings:
    return replace(START, **options)  # type: ignore[arg-type]
