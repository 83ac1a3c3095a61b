"""The recipe on a few shipped scenes: it agrees with the evaluation, and refuses to report the images it fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.jobs.evaluate import evaluate
from recipes.label_quality import main


def test_the_recipe_agrees_with_the_evaluation(tmp_path: Path, capsys) -> None:
    arguments = ["--limit", "4", "--precision", "0.6", "--fit", "val", "--report", "train"]
    assert main([*arguments, "--out", str(tmp_path / "q")]) == 0
    assert (tmp_path / "q.md").read_text() in capsys.readouterr().out
    assert Image.open(tmp_path / "q_train.png").width > 300
    content = json.loads((tmp_path / "q.json").read_text())
    figures = content["report"]["train"]["figures"]["margin, T fitted"]
    results = evaluate("mini", EvaluationData(splits=["train"], limit=4), device="cpu")
    expected = results.metrics["full-vocabulary"]
    assert figures["accuracy"] == pytest.approx(expected["pixel_accuracy"], abs=2e-4)
    assert figures["miou"] == pytest.approx(expected["miou"], abs=2e-3)
    unfitted = content["report"]["train"]["figures"]["margin, T = 1"]
    assert unfitted["ece"] == pytest.approx(expected["ece"], abs=2e-4)


def test_reporting_the_fitted_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'in_distribution'"):
        main(["--limit", "162", "--fit", "val", "--report", "in_distribution", "--out", str(tmp_path / "q")])
