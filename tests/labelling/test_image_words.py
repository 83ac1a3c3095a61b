"""Labels by the words of captions: which words the dataset and each image have, and the masks that follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.errors import UserError, WeightsUnavailable
from ca_seg.jobs.label import LabelSettings
from ca_seg.labelling.captions import dataset_captions
from ca_seg.labelling.image_words import ImageWords
from ca_seg.labelling.settings import LabelData
from ca_seg.predictors.settings import MethodSettings
from tests.small_captioners import SMALL

CAPTIONS = {"a": "a cat on grass", "b": "two cats under the sky", "c": "a photo of two", "d/e": "a dog"}


def test_classes_are_the_nouns_by_the_number_of_images():
    words = ImageWords.of_captions(CAPTIONS)
    assert words.vocabulary.classes == ("background", "cat", "dog", "grass", "sky")
    assert words.vocabulary.background == 0
    assert "grass" not in words.vocabulary.phrases[0]
    assert words.by_image["b"] == ("cat", "sky")
    assert words.of("a").classes == ("background", "cat", "grass")
    assert "sky" in words.of("a").phrases[0]
    assert "sky" not in words.of("b").phrases[0]
    assert words.classes_of("b") == [0, 1, 4]
    assert words.of("c") is None
    assert words.of("unreadable") is None


def test_rare_words_are_left_out():
    words = ImageWords.of_captions(CAPTIONS, most=3)
    assert words.vocabulary.classes == ("background", "cat", "dog")
    assert words.left_out == ("grass", "sky")
    assert words.by_image["a"] == ("cat",)


def test_captions_that_name_nothing():
    with pytest.raises(UserError, match="name nothing"):
        ImageWords.of_captions({"a": "a photo of two"})


def images(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


class Says:
    """Stands in for a captioner: the caption is found by the image's first pixel."""

    def __init__(self, folder: Path) -> None:
        self.captions, self.asked = {}, []
        for key, caption in CAPTIONS.items():
            self.captions[Image.open(folder / f"{key}.png").getpixel((0, 0))] = caption

    def __call__(self, pixels: torch.Tensor) -> str:
        self.asked.append(self.captions[tuple((pixels[:, 0, 0] * 255).round().int().tolist())])
        return self.asked[-1]


@pytest.fixture
def said(tmp_path, monkeypatch):
    images(tmp_path / "in", list(CAPTIONS))
    says = Says(tmp_path / "in")
    monkeypatch.setattr("ca_seg.labelling.captions.captioner_named", lambda name, device: says)
    monkeypatch.setattr("ca_seg.jobs.label.check_captioner", lambda name: None)
    return says


def settings(captioner: str = "says", **options) -> LabelSettings:
    model = MethodSettings(backbone="mini", resolution=64, captioner=captioner)
    return LabelSettings(model, LabelData(num_workers=0), trainer={"enable_progress_bar": False}, **options)


def test_each_image_is_labelled_by_its_own_words(said, tmp_path):
    options = settings(formats=["png", "scores"], refine=ca_seg.Refinement(steps=["coarse-pamr"]))
    results = ca_seg.label(tmp_path / "in", "auto", options, out=tmp_path / "out", device="cpu")
    assert results.labelled == 3
    assert [Path(image).name for image, _ in results.skipped] == ["c.png"]
    assert "names nothing" in results.skipped[0][1]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    classes = run["classes"]
    assert classes == ["background", "cat", "dog", "grass", "sky"]
    assert (run["background"], run["captioner"]) == ("background", "says")
    words = ImageWords.of_captions(CAPTIONS)
    for entry in results.open().entries():
        assert set(np.unique(results.open().mask(entry))) <= set(words.classes_of(entry.key))
    offered, entry = words.of("b"), next(entry for entry in results.open().entries() if entry.key == "b")
    alone = ca_seg.label(tmp_path / "in", offered, options, out=tmp_path / "own", device="cpu").open()
    (same,) = [other for other in alone.entries() if other.key == "b"]
    names = np.array([classes.index(name) for name in offered.classes])
    assert np.array_equal(results.open().mask(entry), names[alone.mask(same)])

    before = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    count = len(said.asked)
    again = ca_seg.label(tmp_path / "in", "auto", options, out=tmp_path / "out", device="cpu")
    assert (again.labelled, len(said.asked)) == (0, count), "captions and labels are kept"
    assert (tmp_path / "out" / "manifest.jsonl").read_bytes() == before


def test_captions_resume_after_a_partial_line(said, tmp_path):
    dataset = LabelData(root=str(tmp_path / "in"), num_workers=0).open()
    out = tmp_path / "out"
    assert dataset_captions(dataset, "says", "cpu", out) == CAPTIONS
    file = out / "captions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"[1]\n" + lines[1][:20])
    said.asked.clear()
    assert dataset_captions(dataset, "says", "cpu", out) == CAPTIONS
    assert len(said.asked) == 3
    said.asked.clear()
    assert dataset_captions(dataset, "says", "cpu", out) == CAPTIONS
    assert not said.asked
    dataset_captions(dataset, "another", "cpu", out)
    assert len(said.asked) == 4
    said.asked.clear()
    images(tmp_path / "in", ["d/e", "a"])  # their content is exchanged
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    changed = dataset_captions(dataset, "says", "cpu", out)
    assert set(changed) == {"a", "c", "d/e"}
    assert len(said.asked) == 2


def test_the_command_with_a_real_captioner(tmp_path, monkeypatch):
    monkeypatch.setattr("ca_seg.captioner.MAX_NEW_TOKENS", 6)
    images(tmp_path / "in", ["a", "b"])
    for part in SMALL["blip"]():
        part.save_pretrained(tmp_path / "blip")
    command = ["label", str(tmp_path / "in"), "--concepts", "auto", "--captioner", str(tmp_path / "blip")]
    command += ["--backbone", "mini", "--resolution", "64", "--device", "cpu", "--data.num_workers", "0"]
    assert main([*command, "--out", str(tmp_path / "out")]) in (0, 1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"threshold": {"cat": 0.5}}, "threshold"),
        ({"formats": ["xyz"]}, "xyz"),
        ({"captioner": None}, "no captioner"),
        ({"captioner": "/nowhere/at/all"}, "nowhere"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_captioned(tmp_path, monkeypatch, options, match):
    images(tmp_path / "in", ["a"])
    monkeypatch.setattr("ca_seg.jobs.label.dataset_captions", None)
    with pytest.raises((UserError, WeightsUnavailable), match=match):
        ca_seg.label(tmp_path / "in", "auto", settings(**({"captioner": "x"} | options)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_and_a_folder_of_something_else_are_refused(said, tmp_path):
    head = LabelSettings(MethodSettings(backbone="mini", head="mini-scenes-linear", captioner="says"))
    with pytest.raises(UserError, match="a head"):
        ca_seg.label(tmp_path / "in", "auto", head, out=tmp_path / "out")
    images(tmp_path / "other", ["x"])
    with pytest.raises(UserError, match="not a folder of labels"):
        ca_seg.label(tmp_path / "in", ["auto"], settings(), out=tmp_path / "other")
    assert not said.asked
