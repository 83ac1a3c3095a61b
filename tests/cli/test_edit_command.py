"""`ca-seg edit` as a user types it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from ca_seg.cli.main import main
from ca_seg.resources import resource_path

SCENE = resource_path("datasets", "scenes", "images", "scene_0000.png")
MINI = ["--backbone", "mini", "--out", "out"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(SCENE, tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_of_an_edit(folder, capsys):
    assert main(["edit", "a.png", "--replace", "sailboat", "--by", "wood", "--steps", "1", *MINI]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a_edited.png", "a_mask.png", "a_overlay.png"]
    assert "out/a_edited.png" in capsys.readouterr().out
    assert Image.open(folder / "out" / "a_edited.png").size == (128, 128)


def test_a_mask_is_shown_changed_and_given_back(folder):
    assert main(["edit", "a.png", "--recolor", "sailboat", "--mask-only", *MINI]) == 0
    assert not (folder / "out" / "a_edited.png").exists()
    changed = np.zeros((128, 128), np.uint8)
    changed[:10, :20] = 7
    Image.fromarray(changed).save(folder / "out" / "a_mask.png")
    assert main(["edit", "a.png", "--recolor", "sailboat", "--by", "#f00000", "--mask", "out/a_mask.png", *MINI]) == 0
    assert (np.asarray(Image.open(folder / "out" / "a_mask.png")) == changed).all()  # the user's file stays as it is
    different = (np.asarray(Image.open(folder / "out" / "a_edited.png")) != np.asarray(Image.open("a.png"))).any(axis=2)
    assert different[:10, :20].any()
    assert not different[10:].any()
    assert not different[:, 20:].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replace", "cat", "--by", "a dog"], "no photograph"),
        (["missing.png", "--replace", "cat", "--by", "a dog"], "missing"),
        (["a.png", "--replace", "cat", "--remove", "dog"], "replace and remove"),
        (["a.png", "--replace", "cat", "--by", "a dog", "--mask", "b.png"], "b.png"),
        (["a.png", "--recolor", "cat", "--by", "red", "--grow", "many"], "grow"),
    ],
)
def test_bad_input_is_one_line(folder, arguments, message, capsys):
    assert main(["edit", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_the_photograph_is_never_overwritten(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "a_edited.png").symlink_to(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    assert main(["edit", "a.png", "--recolor", "sailboat", "--by", "red", *MINI]) == 2
    assert "was given" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before
