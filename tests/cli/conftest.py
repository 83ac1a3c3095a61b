"""A folder of images to label."""

from __future__ import annotations

import pytest

from tests.cli.labelling import NAMES, image


@pytest.fixture
def workdir(tmp_path):
    """WORKDIR/in with seven images in folders, two of the same name, and WORKDIR/words.yaml."""
    for number, name in enumerate(
        ["a/1.png", "a/2.png", "b/1.png", "b/c/my image.png", "b/ü'\".png", "d.png", "e.png"]
    ):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        image(number).save(file)
    (tmp_path / "words.yaml").write_text(f"classes: [{', '.join(NAMES)}]\n")
    return tmp_path
