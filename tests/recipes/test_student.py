"""A student learns from labels; an interrupted table continues."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelResults, label
from ca_seg.vocabulary import IGNORE_INDEX
from recipes.student import table as table_module
from recipes.student.student import Student, train_student
from recipes.student.table import Table


def test_a_student_gives_logits_of_any_size():
    student = Student(5).eval()
    for size in ((128, 128), (213, 320), (50, 31)):
        assert student(torch.rand(1, 3, *size)).shape == (1, 5, *size)


def test_void_batches_are_skipped():
    student = Student(5)
    batch = {"image": torch.rand(2, 3, 64, 64), "mask": torch.full((2, 64, 64), IGNORE_INDEX), "skipped": []}
    assert student.training_step(batch, 0) is None
    batch["mask"][0, :32] = 1
    assert student.training_step(batch, 0).isfinite()
    assert student.training_step(batch | {"weight": torch.zeros(2, 64, 64)}, 0) is None


@pytest.mark.parametrize("row", ["weighted", "tags", "ground_truth"])
@pytest.mark.slow
def test_each_source_of_labels_trains_a_student(row, tmp_path, monkeypatch):
    def four_labels(name, root, split, out, threshold=None):
        return SOURCES[row](name, root, split, out, threshold, 4)

    monkeypatch.setattr(table_module, "zero_shot_labels", four_labels)
    monkeypatch.setattr(table_module, "with_tags", four_labels)
    data = Table("scenes", None, tmp_path, 1).data(row, 0)
    data.limit = 4
    figures = train_student(data, epochs=1, seed=0)[1]
    assert 0 <= figures["miou"] <= 1


def test_the_table_labels_with_mini(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "recipes.student.labels.label",
        lambda data, **options: asked.update(options) or LabelResults(tmp_path, 0, []),
    )
    table_module.zero_shot_labels("scenes", None, "train", tmp_path / "labels", None)
    assert asked["backbone"] == "mini"


def _labels(name, root, split, out, threshold, limit):
    from ca_seg.jobs.label import LabelSettings
    from ca_seg.labelling.settings import LabelData

    settings = LabelSettings(trainer={"enable_progress_bar": False})
    assert label(LabelData(name, root, split, limit=limit), settings=settings, out=out, device="cpu").complete


def _tags(name, root, split, out, threshold, limit):
    from ca_seg.data import catalogue
    from recipes.student import labels

    dataset = catalogue.open_dataset(name, root, split).first(limit)
    labels.open_dataset, before = (lambda *_: dataset), labels.open_dataset
    try:
        labels.with_tags(name, root, split, out)
    finally:
        labels.open_dataset = before


SOURCES = {"weighted": _labels, "tags": _tags, "ground_truth": None}


def test_a_table_does_not_compute_a_row_twice(tmp_path):
    table, calls = Table("scenes", None, tmp_path, 1), []

    def compute():
        calls.append(1)
        return {"miou": 0.5, "pixel_accuracy": 0.7}

    assert (
        table._once("ground truth-0", compute)
        == table._once("ground truth-0", compute)
        == {"miou": 0.5, "pixel_accuracy": 0.7}
    )
    assert len(calls) == 1
    metrics = {"full-vocabulary": {"miou": 0.1}, "oracle-presence": {"miou": 0.4}}
    (tmp_path / "scenes" / "teacher-tags.json").write_text(json.dumps(metrics))
    assert table._once("teacher-tags", compute) == {"miou": 0.4}


def test_an_image_that_cannot_be_used_is_an_error(tmp_path):
    data = Table("scenes", None, tmp_path, 1).data("ground_truth", 0)
    data.limit, data.batch_size = 2, 1
    pair = data.training_set()._pairs[1]
    data.training_set()._pairs[1] = replace(pair, mask_path=tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"\b1\b.*scene"):
        train_student(data, epochs=1, seed=0)
