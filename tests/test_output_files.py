"""Outputs that are inputs, by the same name, by links and from inside an input folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from ca_seg.cli.main import main
from ca_seg.errors import UserError
from ca_seg.jobs.review import review
from ca_seg.jobs.video import video
from ca_seg.output_files import check_apart, check_outputs


def test_an_output_that_is_an_input_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"content")
    os.link(tmp_path / "photo.png", tmp_path / "hard.png")
    os.symlink(tmp_path / "photo.png", tmp_path / "soft.png")
    for name in ("photo.png", "hard.png", "soft.png", "../" + tmp_path.name + "/photo.png"):
        with pytest.raises(UserError, match=r"photo\.png"):
            check_outputs([tmp_path / name], [tmp_path / "photo.png"])
    check_outputs([tmp_path / "other.png"], [tmp_path / "photo.png", tmp_path / "missing.png"])
    os.symlink(tmp_path / "missing.png", tmp_path / "dangling.png")
    check_outputs([tmp_path / "dangling.png"], [tmp_path / "photo.png"])


def test_an_output_folder_inside_an_input_folder_is_refused(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    os.symlink(tmp_path / "in", tmp_path / "link")
    os.symlink(tmp_path / "in" / "a", tmp_path / "inner")
    for out in ("in", "in/new/deep", "in/a", "link/new", "in/../in/new", "inner/new"):
        with pytest.raises(UserError, match="inside"):
            check_apart(tmp_path / out, tmp_path / "in")
    for out in ("out", "input", "in2/new"):
        check_apart(tmp_path / out, tmp_path / "in")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "png" / "masks").mkdir(parents=True)
    for name in ("a.png", "a_mask.png", "a_instances.png", "png/masks/a.png"):
        Image.new("RGB", (16, 16)).save(folder / name)
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "in/a.png", "in/a_mask.png", "--concepts", "cat", "--out", "in"],
        ["segment", "in", "--concepts", "cat", "--out", "in/out"],
        ["segment", "in/a.png", "in/a_instances.png", "--concepts", "cat", "--instances", "--out", "in"],
        ["segment", "in/png/masks/a.png", "--concepts", "cat", "--formats", "png", "--out", "in"],
        ["parts", "in/a.png", "in/a_mask.png", "--backbone", "mini", "--out", "in"],
        ["parts", "in", "--backbone", "mini", "--out", "in/out"],
        ["label", "in", "--concepts", "cat", "grass", "--out", "in/labels"],
        ["label", "--data.name", "images", "--data.root", "in", "--concepts", "cat", "grass", "--out", "in"],
    ],
)
def test_commands_leave_their_inputs_alone(photos, monkeypatch, capsys, arguments):
    monkeypatch.chdir(photos.parent)
    before = contents(photos)
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err
    assert contents(photos) == before


def test_a_review_a_video_and_a_calibration_replace_no_other_file(tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("{}\n")
    with pytest.raises(UserError, match="html"):
        review(tmp_path, out=manifest)
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"classes": {"0": "cat"}}))
    assert main(["calibrate", "--data.name", "scenes", "--backbone", "mini", "--out", str(classes)]) == 2
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    assert main(["calibrate", "--data.name", "scenes", "--backbone", "mini", "--out", str(tmp_path / "plot.json")]) == 2
    assert "plot.png" in capsys.readouterr().err
    frames = tmp_path / "out" / "masks"
    frames.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(frames / "00000.png")
    with pytest.raises(UserError, match="masks"):
        video(frames, ["cat"], out=tmp_path / "out")
    (tmp_path / "out" / "overlay.mp4").write_bytes(b"a video")
    with pytest.raises(UserError, match=r"overlay\.mp4"):
        video(tmp_path / "out" / "overlay.mp4", ["cat"], out=tmp_path / "out")
    with pytest.raises(UserError, match=r"classes\.json"):
        video(frames, ["cat"], out=tmp_path)
    assert manifest.read_text() == "{}\n"
