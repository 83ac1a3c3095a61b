"""Labels of segmented images: one class list for a format's folder, and images under the names of their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.data.inputs import open_images
from ca_seg.errors import UserError
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.labelling.registry import FORMATS

TOKENS = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 1]])


def segmentation(image_id: str, classes: tuple[str, ...], file_name: str | None = None) -> Segmentation:
    """The first two classes have pixels."""
    maps = torch.nn.functional.one_hot(TOKENS, len(classes)).movedim(-1, 0)[None].float()
    pixels = np.zeros((*TOKENS.shape, 3), np.uint8)
    return Segmentation(pixels, maps, classes, None, None, image_id, "mini", file_name=file_name)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("classes", [("dog", "sky", "road"), ("grass", "cat"), ("cat",), ("cat", "grass", "sky")])
def test_a_folder_keeps_its_class_list(name, classes, tmp_path):
    segmentation("a", ("cat", "grass")).save(tmp_path, ["mask", name])
    before = files_of(tmp_path)
    other = segmentation("b", ("cat", "grass"))
    other = replace(other, classes=classes, maps=other.maps[:, : len(classes)])
    with pytest.raises(UserError) as refused:
        other.save(tmp_path, ["mask", name])
    for part in (str(tmp_path / name), "cat, grass", ", ".join(classes)):
        assert part in str(refused.value)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_the_same_words_are_added_and_replaced(name, tmp_path):
    words = ("cat", "grass")
    for image_id in ("a", "b", "a"):
        segmentation(image_id, words).save(tmp_path / "three", [name])
    for image_id in ("b", "a"):
        segmentation(image_id, words).save(tmp_path / "two", [name])
    assert files_of(tmp_path / "three") == files_of(tmp_path / "two")


@pytest.mark.parametrize("file", [".pieces/a.json", "labels.txt"])
def test_labels_without_a_class_list_are_not_added_to(file, tmp_path):
    (tmp_path / "coco" / file).parent.mkdir(parents=True)
    (tmp_path / "coco" / file).write_text("{}")
    with pytest.raises(UserError, match="coco"):
        segmentation("b", ("cat", "grass")).save(tmp_path, "coco")


def test_a_damaged_class_list_is_said(tmp_path):
    segmentation("a", ("cat", "grass")).save(tmp_path, "coco")
    (tmp_path / "coco" / ".classes").write_text("[")
    with pytest.raises(UserError, match=r"\.classes"):
        segmentation("b", ("cat", "grass")).save(tmp_path, "coco")


def named_images(folder: Path) -> list[str]:
    """As the dataset's file of COCO names them."""
    return [image["file_name"] for image in json.loads((folder / "coco" / "annotations.json").read_text())["images"]]


def test_an_image_is_named_as_its_file(tmp_path):
    words, out = ("cat", "grass"), tmp_path / "out"
    segmentation("photo", words, "photo.jpg").save(out, ["coco", "cvat", "label_studio", "labelme", "mmseg"])
    assert named_images(out) == ["photo.jpg"]
    assert 'name="photo.jpg"' in (out / "cvat" / "annotations.xml").read_text()
    assert "photo.jpg" in (out / "label_studio" / "tasks.json").read_text()
    assert json.loads((out / "labelme" / "photo.json").read_text())["imagePath"] == "photo.jpg"
    assert (out / "mmseg" / "splits" / "jpg.txt").is_file()
    segmentation("photo", words).save(tmp_path / "memory", "coco")
    assert named_images(tmp_path / "memory") == ["photo.png"]


def test_the_file_name_has_the_folders_of_the_image_id(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("1.b.JPG", "a/2.jpeg"):
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    assert [image.file_name for image in open_images(tmp_path)] == ["1.b.JPG", "a/2.jpeg"]
    assert [image.file_name for image in open_images(str(tmp_path / "*" / "*.jpeg"))] == ["a/2.jpeg"]
    assert [image.file_name for image in open_images(tmp_path / "a" / "2.jpeg")] == ["2.jpeg"]
    assert [image.file_name for image in open_images(Image.open(tmp_path / "a" / "2.jpeg"))] == [None]


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A working folder with two photographs."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(name)
    return tmp_path


def test_commands_refuse_other_words_before_an_image_is_computed(photographs, monkeypatch, capsys):
    options = ["--formats", "coco", "--backbone", "mini", "--out", "out"]
    assert main(["segment", "a.jpg", "--concepts", "cat", "grass", *options]) == 0
    assert named_images(photographs / "out") == ["a.jpg"]
    assert main(["segment", "b.jpg", "--concepts", "cat", "grass", *options]) == 0
    assert main(["parts", "a.jpg", *options, "--names", "dog", "road", "--count", "2"]) == 2
    monkeypatch.setattr("ca_seg.jobs.segmenter.Segmenter.__call__", lambda *_: pytest.fail("it was computed"))
    before = files_of(photographs / "out")
    capsys.readouterr()
    assert main(["segment", "b.jpg", "--concepts", "dog", "sky", "road", *options]) == 2
    said = capsys.readouterr().err
    for part in ("out/coco", "cat, grass", "dog, sky, road"):
        assert part in said
    assert files_of(photographs / "out") == before


@pytest.mark.parametrize(
    "command", [["parts"], ["parts", "--count", "2"], ["segment", "--concepts", "auto", "--captioner", "x"]]
)
def test_several_images_with_classes_of_their_own_have_no_common_list(command, photographs, monkeypatch, capsys):
    monkeypatch.setattr(ca_seg.SegmentSettings, "load", lambda *_: pytest.fail("it was loaded"))
    monkeypatch.setattr(ca_seg.PartsSettings, "load", lambda *_: pytest.fail("it was loaded"))
    assert main([command[0], "a.jpg", "b.jpg", *command[1:], "--formats", "mask", "coco", "--out", "out"]) == 2
    assert "coco" in capsys.readouterr().err
    assert not (photographs / "out").exists()


def test_parts_by_number_have_one_list(photographs):
    options = ["--formats", "coco", "--backbone", "mini", "--count", "2", "--no-named", "--out", "out"]
    assert main(["parts", "a.jpg", "b.jpg", *options]) == 0
    assert named_images(photographs / "out") == ["a.jpg", "b.jpg"]


def test_a_file_without_an_ending_has_no_label(photographs, capsys):
    (photographs / "a.jpg").rename("a")
    assert main(["segment", "a", "--concepts", "cat", "grass", "--formats", "coco", "--backbone", "mini"]) == 2
    assert "ending" in capsys.readouterr().err
