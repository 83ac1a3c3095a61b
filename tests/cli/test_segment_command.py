"""`ca-seg segment` as a user types it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.resources import resource_path

SCENE = resource_path("datasets", "scenes", "images", "scene_0001.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with two photographs."""
    for name in ("a.png", "b.png"):
        shutil.copy(SCENE, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "--concepts", "dog", "grass"],
        ["--concepts", "dog", "grass", "a.png"],
        ["--concepts", "dog", "grass", "--seed", "0", "--", "a.png"],
        ["dog", "grass", "a.png"],
        ["a.png", "dog", "grass"],
        ["a.png", "--backbone", "photo", "--concepts", "dog", "grass", "--layers", "2", "3"],
        ["a.png", "--concepts", "dog", "grass", "--model.backbone", "photo", "--samples", "1", "--timestep", "0.05"],
    ],
)
def test_equivalent_command_lines(folder, arguments, capsys):
    assert main(["segment", "--out", "out", *arguments]) == 0
    expected = ca_seg.segment("a.png", ["dog", "grass"]).mask + 1
    assert (ids(folder / "out" / "a_mask.png") == expected).all()
    assert "dog" in capsys.readouterr().out
    for kind in ("overlay", "heatmaps"):
        Image.open(folder / "out" / f"a_{kind}.png").verify()


@pytest.mark.parametrize("source", [["a.png", "b.png"], ["."], ["*.png"]])
def test_several_images(folder, source, capsys):
    assert main(["segment", *source, "--concepts", "dog", "grass", "--out", "../out", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["a", "b"]


def test_standard_input(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SCENE.read_bytes()), isatty=lambda: False))
    assert main(["segment", "-", "--concepts", "dog", "grass", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == [128, 128]


def test_background_threshold_refine_colors_and_cutout(folder, capsys):
    options = ["--background", "sky", "grass", "--threshold", "0.6", "--refine", "pamr", "--cutout", "dog"]
    assert main(["segment", "a.png", "dog", *options, "--colors", "dog=#ff0000", "--out", "out"]) == 0
    notes = capsys.readouterr().err
    assert "sky, grass" in notes
    assert "0.6" in notes
    cutout = np.asarray(Image.open(folder / "out" / "a_cutout_dog.png"))
    assert ((cutout[..., 3] > 0) == (ids(folder / "out" / "a_mask.png") == 1)).all()
    overlay = np.asarray(Image.open(folder / "out" / "a_overlay.png")).reshape(-1, 3)
    assert (overlay == (255, 0, 0)).all(axis=1).any()  # the legend's box


def test_a_word_without_pixels_is_in_the_result(folder, capsys):
    assert main(["segment", "a.png", "--concepts", "dog", "grass", "giraffe", "sky", "--out", "out"]) == 0
    assert re.search(r"\bgiraffe\D+\b0\b", capsys.readouterr().out)


def test_the_limits_of_the_shipped_backbone_are_a_note(folder, capsys):
    assert main(["segment", "a.png", "--concepts", "dog", "grass", "--backbone", "mini", "--out", "out"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("mini:")]) == 1


def test_a_broken_image_among_others_is_skipped(folder, capsys):
    (folder / "broken.png").write_bytes(b"no image")
    assert main(["segment", "broken.png", "a.png", "--concepts", "dog", "grass", "--out", "out"]) == 1
    assert (folder / "out" / "a_mask.png").exists()
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["broken.png", "--concepts", "dog", "grass"], "broken.png"),
        (["missing.png", "--concepts", "dog", "grass"], "missing.png"),
        (["https://example.org/cat.jpg", "--concepts", "dog"], "https://example.org/cat.jpg"),
        (["*.webp", "--concepts", "dog"], "*.webp"),
        (["a.png", "--concepts", "zebr"], "zebra"),
        (["a.png", "--concepts", "dog,grass"], "dog grass"),
        (["a.png", "--concepts", "dog", "Dog"], "Dog"),
        (["a.png"], "--concepts"),
        (["dog", "grass"], "photo.jpg"),
        (["a.png", "dog", "--colors", "dgo=red"], "dog"),
        (["a.png", "dog", "--cutout", "cat"], "cat"),
        (["a.png", "dog", "--thresold", "0.5"], "--threshold"),
        (["a.png", "a.png", "dog"], "'a'"),
    ],
)
def test_a_bad_argument_is_one_line(folder, arguments, value, capsys):
    (folder / "broken.png").write_bytes(b"no image")
    assert main(["segment", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert value in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize("arguments", [["missing.jpg", "--concepts", "dog"], ["dog", "missing.jpg"]])
def test_a_missing_image_is_said_before_anything_heavy_is_imported(tmp_path, arguments):
    code = (
        "import sys; from ca_seg.cli.main import main; status = main(sys.argv[1:]);"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "segment", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "missing.jpg" in result.stderr
    assert "Traceback" not in result.stderr
