"""Comparing two evaluations of the same images: files of this schema and the former one, and results in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ca_seg.cli.compare import run
from ca_seg.errors import UserError
from ca_seg.evaluation.results import SCHEMA, EvaluationResults
from ca_seg.jobs.compare import FORMER_SCHEMA, compare


def content(shift: float, split: str = "val", dataset: str = "scenes") -> dict[str, Any]:
    """Ten images, each `shift` better than 0.3, 0.31 ..."""
    images = {f"{i}": 0.3 + i / 100 + shift for i in range(10)}
    return {
        "schema": SCHEMA,
        "method": f"shifted by {shift}",
        "dataset": {"name": dataset},
        "splits": {split: {"full-vocabulary": {"miou": 0.5 + shift}}},
        "images": {split: {"full-vocabulary": images}},
    }


def write(file: Path, values: dict[str, Any]) -> Path:
    file.write_text(json.dumps(values))
    return file


def test_differences_are_counted_per_image(tmp_path, capsys):
    first, second = write(tmp_path / "a.json", content(0.0)), write(tmp_path / "b.json", content(0.1))
    comparison = compare(first, second)
    (row,) = comparison.rows
    assert (row.split, row.protocol, row.better, row.worse) == ("val", "full-vocabulary", 10, 0)
    assert [row.first, row.second, row.difference, *row.interval] == pytest.approx([0.5, 0.6, 0.1, 0.1, 0.1])
    assert compare(EvaluationResults(content(0.0), True), second).rows == comparison.rows
    assert run([str(first), str(second)]) == 0
    assert "+10.00" in capsys.readouterr().out


def test_results_of_the_former_schema_are_read(tmp_path):
    former = content(0.0) | {"schema": FORMER_SCHEMA}
    former["pictures"] = former.pop("images")
    second = write(tmp_path / "b.json", content(0.1))
    assert compare(write(tmp_path / "a.json", former), second) == compare(
        write(tmp_path / "c.json", content(0.0)), second
    )


@pytest.mark.parametrize(
    ("second", "value"),
    [
        (content(0, split="train"), "train"),
        (content(0, dataset="voc"), "voc"),
        ({"schema": SCHEMA}, r"b\.json"),
        ({"schema": "other"}, r"b\.json"),
    ],
)
def test_evaluations_that_do_not_match_are_refused(tmp_path, second, value):
    with pytest.raises(UserError, match=value):
        compare(write(tmp_path / "a.json", content(0)), write(tmp_path / "b.json", second))
    with pytest.raises(UserError, match="nowhere"):
        compare(tmp_path / "nowhere.json", tmp_path / "a.json")


DATASET = {"name": "folder", "split": "val", "classes": 3, "fingerprint": "0" * 16, "pixels": {"val": {"cat": 9}}}


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ({"fingerprint": "1" * 16}, "0000 and 1111"),
        ({"classes": 4}, "3 and 4"),
        ({"pixels": {"val": {"cat": 8}}}, "9 and 8 pixels of cat"),
        ({"pixels": {"val": {"dog": 9}}}, "9 and none pixels of cat"),
    ],
)
def test_other_files_or_masks_under_one_name_are_refused(tmp_path, changed, value):
    first = content(0) | {"dataset": DATASET}
    second = content(0.1) | {"dataset": DATASET}
    assert compare(write(tmp_path / "a.json", first), write(tmp_path / "b.json", second)).rows
    with pytest.raises(UserError, match=value):
        compare(tmp_path / "a.json", write(tmp_path / "c.json", content(0.1) | {"dataset": DATASET | changed}))


def test_the_fingerprint_of_another_first_split_says_nothing(tmp_path):
    """Of an evaluation of several splits it is that of the first one."""
    second = content(0.1) | {"dataset": DATASET | {"split": "train", "fingerprint": "1" * 16}}
    first = write(tmp_path / "a.json", content(0) | {"dataset": DATASET})
    assert compare(first, write(tmp_path / "b.json", second)).rows
