"""Miniature dataset folders, written with PIL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = {"ignore": [0], "classes": {"7": "cat", "151": "grass"}, "kinds": {"7": "object", "151": "stuff"}}


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder([(height, width), ...]) writes images p0, p1, ... with masks of the ids 0, 7 and 151."""

    def make(sizes=((6, 8), (6, 8), (6, 8)), classes=CLASSES, splits=None) -> Path:
        root = tmp_path / "set"
        (root / "images").mkdir(parents=True)
        (root / "masks").mkdir()
        (root / "classes.json").write_text(json.dumps(classes))
        if splits is not None:
            (root / "splits.json").write_text(json.dumps(splits))
        rng = np.random.default_rng(0)
        for number, (height, width) in enumerate(sizes):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"p{number}.png")
            mask = Image.fromarray(rng.choice(np.array([0, 7, 151], np.uint8), (height, width))).convert("P")
            mask.putpalette([value for value in range(256) for _ in range(3)])
            mask.save(root / "masks" / f"p{number}.png")
        return root

    return make
