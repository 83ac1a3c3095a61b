"""The recipe on a few shipped scenes: its first row is the evaluation's, and it refuses to report what it fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ca_seg.cli.evaluate import evaluate
from ca_seg.errors import UserError
from recipes.label_quality import main

QUICK = ["--limit", "4", "--precision", "0.6"]


def test_the_recipe_agrees_with_the_evaluation(tmp_path: Path, capsys) -> None:
    assert main([*QUICK, "--fit", "val", "--report", "train", "--out", str(tmp_path / "q")]) == 0
    assert (tmp_path / "q.md").read_text() in capsys.readouterr().out
    assert Image.open(tmp_path / "q_train.png").width > 300
    content = json.loads((tmp_path / "q.json").read_text())
    figures = content["report"]["train"]["figures"]["margin, T fitted"]
    run = ["--data.splits", "[train]", "--data.limit", "4", "--report", "false", "--out", str(tmp_path / "e")]
    assert evaluate([*run, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]) == 0
    found = json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]["full-vocabulary"]
    assert figures["accuracy"] == pytest.approx(found["pixel_accuracy"], abs=2e-4)
    assert figures["miou"] == pytest.approx(found["miou"], abs=2e-3)
    raw = content["report"]["train"]["figures"]["margin, T = 1"]
    assert raw["ece"] == pytest.approx(found["ece"], abs=2e-4)


def test_nothing_is_reported_that_was_fitted_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 images are in 'val' and in 'in_distribution'"):
        main(["--limit", "162", "--fit", "val", "--report", "in_distribution", "--out", str(tmp_path / "q")])
