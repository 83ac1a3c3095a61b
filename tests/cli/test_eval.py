"""`ca-seg eval` as a user types it, with the shipped backbone and a few images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import confusion_matrix

import ca_seg.evaluation
from ca_seg.cli.main import main
from ca_seg.resources import resource_path
from tests.cli.commands import CPU, QUICK, ROOT, few_scenes

CONFIG = str(ROOT / "configs" / "zero_shot" / "mini_scenes.yaml")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    out = tmp_path_factory.mktemp("eval")
    arguments = ["--config-file", CONFIG, *QUICK, "--compare", '["random-maps","one-class"]', "--out", str(out)]
    status = main(["eval", *arguments, "--save_predictions", "true"])
    return status, out, json.loads((out / "results.json").read_text())


def test_results_have_both_protocols(evaluated):
    status, _, results = evaluated
    assert status == 0
    for protocol in ("oracle-presence", "full-vocabulary"):
        for figure in ("miou", "pixel_accuracy", "map"):
            assert 0 <= results["metrics"][protocol][figure] <= 1
    assert list(results["methods"]) == ["mini", "random-maps", "one-class"]
    assert list(results["splits"]) == ["in_distribution", "shifted"]
    assert results["dataset"]["classes"] == 166
    assert results["config"]["model"]["backbone"] == "mini"


def test_results_follow_their_schema(evaluated):
    _, _, results = evaluated
    schema = json.loads((Path(ca_seg.evaluation.__file__).parent / "results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(results, schema, jsonschema.Draft202012Validator)
    broken = json.loads(json.dumps(results))
    del broken["metrics"]["full-vocabulary"]["miou"]
    with pytest.raises(jsonschema.ValidationError, match="miou"):
        jsonschema.validate(broken, schema, jsonschema.Draft202012Validator)


def test_saved_predictions_give_the_printed_figures(evaluated):
    _, out, results = evaluated
    ids = [int(i) for i in json.loads((resource_path("datasets", "scenes") / "classes.json").read_text())["classes"]]
    image_ids = json.loads((resource_path("datasets", "scenes") / "splits.json").read_text())["in_distribution"][:3]
    for protocol, figures in results["metrics"].items():
        ground_truth, predicted = (
            np.concatenate([np.asarray(Image.open(folder / f"{image_id}.png")).ravel() for image_id in image_ids])
            for folder in (resource_path("datasets", "scenes", "masks"), out / "predictions" / protocol)
        )
        matrix = confusion_matrix(ground_truth, predicted, labels=ids)
        union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
        assert figures["miou"] == pytest.approx((np.diag(matrix)[union > 0] / union[union > 0]).mean(), abs=1e-5)
        assert figures["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-5)


def test_the_page_is_one_file_without_outside_references(evaluated):
    _, out, _ = evaluated
    html = (out / "index.html").read_text()
    assert re.search(r"\bmini\b.*\bscenes\b", html)
    assert "http://" not in html
    assert "https://" not in html


@pytest.mark.parametrize(("expected", "status"), [([0.0, 0.001], 1), ([0.5, 0.5], 0)])
def test_a_result_that_misses_its_expectation_fails(tmp_path, expected, status):
    content = {"data": {"name": "folder"}, "expect": {"metrics/oracle-presence/miou": expected}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    root = str(few_scenes(tmp_path / "few", 2))
    out = ["--report", "false", "--out", str(tmp_path)]
    assert main(["eval", "--config-file", str(tmp_path / "c.yaml"), *CPU, "--data.root", root, *out]) == status
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["expect"][0]["holds"] == (status == 0)


def test_a_broken_image_is_skipped_and_the_exit_status_is_1(tmp_path):
    root = few_scenes(tmp_path / "few", 3)
    (root / "images" / "scene_0001.png").write_bytes(b"broken")
    config = str(ROOT / "configs" / "zero_shot" / "mini_folder.yaml")
    arguments = [*CPU, "--data.root", str(root), "--compare", "[one-class]", "--out", str(tmp_path / "o")]
    assert main(["eval", "--config-file", config, *arguments]) == 1
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert len(results["skipped"]) == 1
    assert "scene_0001.png" in results["skipped"][0][0]
    assert list(results["methods"]) == ["mini", "one-class"]


def test_an_evaluation_of_a_part_says_so(tmp_path, capsys):
    options = ["--data.limit", "3", "--data.batch_size", "1", "--no-report", "--trainer.limit_test_batches", "2"]
    assert main(["eval", "--backbone", "mini", "--data.splits", "val", *options, *CPU, "--out", str(tmp_path)]) == 1
    assert "2 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--config-file", "configs/zero_shot/nowhere.yaml"], "mini_folder.yaml"),
        (["--config-file", CONFIG, "--model.backbone", "minni"], "'mini'"),
        (["--config-file", CONFIG, "--model.layers", "[9]", *QUICK], "0 to 5"),
        (["--config-file", CONFIG, "--model.timesteps", "[1.5]", *QUICK], "1.5"),
        (["--config-file", CONFIG, "--model.space", "outputs", *QUICK], "'output'"),
        (["--config-file", CONFIG, "--data.name", "scene"], "scenes"),
        (["--config-file", CONFIG, "--data.splits", "[nowhere]", *QUICK], "in_distribution"),
        (["--config-file", CONFIG, "--model.weights", "/nowhere"], "/nowhere"),
    ],
)
def test_a_bad_argument_is_one_line(arguments, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["eval", *arguments, "--report", "false", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert value in error
    assert "\n" not in error


def test_an_unknown_key_is_refused(capsys):
    assert main(["eval", "--config-file", CONFIG, "--model.bckbone", "mini"]) == 2
    assert "bckbone" in capsys.readouterr().err


def test_print_config_shows_the_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--config-file", CONFIG, "--seed", "3", "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["seed"] == 3
    assert config["data"]["splits"] == ["in_distribution", "shifted"]


def test_a_config_that_builds_on_itself_is_refused(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    assert main(["eval", "--config-file", str(tmp_path / "a.yaml")]) == 2
    assert "a.yaml" in capsys.readouterr().err
