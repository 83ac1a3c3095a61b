"""`ca_seg.label` and `ca_seg.review` from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.jobs.review import review
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.settings import LabelData, RaySettings
from ca_seg.predictors.settings import MethodSettings
from ca_seg.vocabulary import Vocabulary
from tests.labelling.random_labels import random_mask

WORDS = {"cat": ["cat", "tiger"], "sky": "sky"}
SMALL = MethodSettings(resolution=32)
QUIET = LabelSettings(model=SMALL, data=LabelData(num_workers=0), trainer={"enable_progress_bar": False})


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        mask = random_mask(number, 40, 56, 3, "blocks")
        Image.fromarray(mask % 3 * 100).convert("RGB").save(folder / f"{number}.png")
    return folder


def test_a_folder_and_words_give_labels(photos, tmp_path):
    (photos / "broken.png").write_bytes(b"")
    results = label(str(photos), WORDS, out=tmp_path / "labels", backbone=SMALL, formats=["png", "coco"], device="cpu")
    assert (results.labelled, results.complete) == (3, False)
    assert [image for image, _ in results.skipped] == [str(photos / "broken.png")]
    assert results.summary["images"] == 3
    run = results.open()
    assert isinstance(run, LabelRun)
    assert run.classes == ("cat", "sky")
    assert run.settings["vocabulary"] == {"cat": ["cat", "tiger"], "sky": ["sky"]}
    for entry in run.entries():
        assert np.isin(run.mask(entry), (0, 1, 255)).all()
    assert (results.folder / "coco" / "annotations.json").is_file()
    resumed = label(photos, Vocabulary(("cat", "sky"), (("cat", "tiger"), ("sky",))), QUIET, device="cpu",
                  formats=["png", "coco"], out=tmp_path / "labels")  # fmt: skip
    assert resumed.labelled == 0
    page = review(results.folder, count=2)
    assert page.page.is_file()
    assert (page.shown, page.complete, page.statistics["images"]) == (2, True, 3)


@pytest.mark.parametrize(
    "last", ["ca_seg.labelling.label_files.LabelFiles.assemble", "ca_seg.labelling.run_folder.merge_manifests"]
)
def test_a_run_that_was_stopped_after_its_last_image_is_completed(photos, tmp_path, monkeypatch, last):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    arguments = {"out": tmp_path / "labels", "formats": ["png", "coco"], "device": "cpu"}
    with monkeypatch.context() as patch:
        patch.setattr(last, stopped)
        with pytest.raises(KeyboardInterrupt):
            label(photos, WORDS, QUIET, **arguments)
    assert not (tmp_path / "labels" / "manifest.jsonl").exists()
    results = label(photos, WORDS, QUIET, **arguments)
    assert (results.labelled, results.complete, results.summary["images"]) == (0, True, 3)
    assert (results.folder / "coco" / "annotations.json").is_file()
    assert len(list(results.open().entries())) == 3


def test_images_may_be_a_list_and_classes_a_file(photos, tmp_path):
    (photos / "list.txt").write_text("2.png\n0.png\n")
    (tmp_path / "words.yaml").write_text("classes: [cat, sky]\n")
    for number, classes in enumerate((tmp_path / "words.yaml", str(tmp_path / "words.yaml"))):
        results = label(photos / "list.txt", classes, QUIET, out=tmp_path / str(number), device="cpu")
        assert [entry.image for entry in results.open().entries()] == ["0.png", "2.png"]


def test_a_dataset_provides_its_class_names(tmp_path):
    settings = replace(QUIET, data=replace(QUIET.data, limit=1))
    results = label("scenes", settings=settings, out=tmp_path / "labels", device="cpu")
    assert results.labelled == 1
    assert "cat" in results.open().classes


def test_a_part_of_a_dataset_is_named_by_the_settings_of_any_job(tmp_path):
    results = label(DataSettings("scenes", split="val", limit=2), settings=QUIET, out=tmp_path / "labels", device="cpu")
    expected = open_dataset("scenes", None, "val").image_ids[:2]
    assert [Path(entry.image).stem for entry in results.open().entries()] == list(expected)


@pytest.mark.parametrize(
    ("images", "classes", "changes", "value"),
    [
        ("scens", None, {}, "scenes"),
        ("nowhere/", ["cat"], {}, "nowhere"),
        (None, ["cat", "cat"], {}, "cat"),
        (None, [], {}, "words"),
        (None, ["cat"], {"model": MethodSettings(synonyms={"cat": ["tiger"]})}, "synonyms"),
        (None, ["cat"], {"format_options": {"coco": {}}}, "coco"),
        (None, ["cat"], {"format_options": {"png": {"per": "part"}}}, "per"),
        (None, ["cat"], {"ray": RaySettings(actors=1), "writers": 2}, "writers"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(photos, tmp_path, images, classes, changes, value):
    with pytest.raises(UserError, match=value):
        label(images or photos, classes, replace(LabelSettings(), **changes), out=tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
