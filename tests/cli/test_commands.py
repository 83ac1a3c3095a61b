"""The commands as a user types them, on the shipped backbone and a handful of images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import confusion_matrix

import ca_seg.evaluation
from ca_seg.cli.evaluate import evaluate
from ca_seg.cli.guarded import guarded
from ca_seg.cli.main import main
from ca_seg.cli.train import train
from ca_seg.errors import CorruptWeights, UserError
from ca_seg.resources import resource_path

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs" / "zero_shot" / "mini_scenes.yaml")
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.limit", "3"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    out = tmp_path_factory.mktemp("eval")
    arguments = ["--config-file", CONFIG, *QUICK, "--compare", '["random-maps","one-class"]', "--out", str(out)]
    status = evaluate([*arguments, "--save_predictions", "true"])
    return status, out, json.loads((out / "results.json").read_text())


def test_results_hold_both_protocols(evaluated):
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
        ground_truth, guess = (
            np.concatenate([np.asarray(Image.open(folder / f"{image_id}.png")).ravel() for image_id in image_ids])
            for folder in (resource_path("datasets", "scenes", "masks"), out / "predictions" / protocol)
        )
        matrix = confusion_matrix(ground_truth, guess, labels=ids)
        union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
        assert figures["miou"] == pytest.approx((np.diag(matrix)[union > 0] / union[union > 0]).mean(), abs=1e-5)
        assert figures["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-5)


def test_the_page_is_one_file_without_outside_references(evaluated):
    _, out, _ = evaluated
    html = (out / "index.html").read_text()
    assert "mini on scenes" in html
    assert "http://" not in html
    assert "https://" not in html


def _few(folder, count):
    """The first scenes as a folder of one's own."""
    source = resource_path("datasets", "scenes")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            shutil.copy(source / part / f"scene_{i:04d}.png", folder / part)
    shutil.copy(source / "classes.json", folder)
    return folder


@pytest.mark.parametrize(("expected", "status"), [([0.0, 0.001], 1), ([0.5, 0.5], 0)])
def test_a_figure_off_its_expectation_fails(tmp_path, expected, status):
    content = {"data": {"name": "folder"}, "expect": {"metrics/oracle-presence/miou": expected}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    root = str(_few(tmp_path / "few", 2))
    out = ["--report", "false", "--out", str(tmp_path)]
    assert evaluate(["--config-file", str(tmp_path / "c.yaml"), *QUICK[:4], "--data.root", root, *out]) == status
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["expect"][0]["holds"] == (status == 0)


def test_one_broken_image_is_skipped_and_the_exit_status_tells(tmp_path):
    root = _few(tmp_path / "few", 3)
    (root / "images" / "scene_0001.png").write_bytes(b"broken")
    config = str(ROOT / "configs" / "zero_shot" / "mini_folder.yaml")
    arguments = [*QUICK[:4], "--data.root", str(root), "--compare", "[one-class]", "--out", str(tmp_path / "o")]
    assert evaluate(["--config-file", config, *arguments]) == 1
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert len(results["skipped"]) == 1
    assert "scene_0001.png" in results["skipped"][0][0]
    assert list(results["methods"]) == ["mini", "one-class"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config-file", "configs/zero_shot/nowhere.yaml"], "mini_folder.yaml"),
        (["--config-file", CONFIG, "--model.backbone", "minni"], "'mini'"),
        (["--config-file", CONFIG, "--model.layers", "[9]", *QUICK], "0 to 5"),
        (["--config-file", CONFIG, "--model.timesteps", "[1.5]", *QUICK], "0 (clean) to 1 (noise)"),
        (["--config-file", CONFIG, "--model.space", "outputs", *QUICK], "'output'"),
        (["--config-file", CONFIG, "--data.name", "scene"], "scenes"),
        (["--config-file", CONFIG, "--data.splits", "[nowhere]", *QUICK], "in_distribution"),
        (["--config-file", CONFIG, "--model.weights", "/nowhere"], "/nowhere"),
    ],
)
def test_what_the_user_got_wrong_is_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert guarded(lambda: evaluate([*arguments, "--report", "false", "--out", str(tmp_path)])) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert said in error
    assert "\n" not in error


def test_an_unknown_key_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate(["--config-file", CONFIG, "--model.bckbone", "mini"])
    assert stop.value.code == 2
    assert "bckbone" in capsys.readouterr().err


def test_print_config_shows_what_would_run(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate(["--config-file", CONFIG, "--seed", "3", "--print_config"])
    assert stop.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 3
    assert shown["data"]["splits"] == ["in_distribution", "shifted"]


def test_a_config_that_builds_on_itself_is_refused(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    assert guarded(lambda: evaluate(["--config-file", str(tmp_path / "a.yaml")])) == 2
    assert "builds on itself" in capsys.readouterr().err


def _run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ca-seg", *map(str, arguments)])
    return main()


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "my photo.jpg"
    scene = Image.open(resource_path("datasets", "scenes", "images", "scene_0000.png"))
    scene.resize((230, 170)).save(file)
    return file


def test_segment_writes_overlay_mask_and_scores(photo, tmp_path, monkeypatch):
    assert _run(monkeypatch, "segment", photo, "--concepts", "cat", "grass", "sky", "--out", tmp_path / "o") == 0
    mask = Image.open(tmp_path / "o" / "my photo_mask.png")
    assert mask.size == (230, 170)
    assert mask.mode == "P"
    ids = np.asarray(mask)
    scores = json.loads((tmp_path / "o" / "my photo_scores.json").read_text())["concepts"]
    assert list(scores) == ["cat", "grass", "sky"]
    for concept in scores.values():
        assert concept["share"] == pytest.approx((ids == concept["mask_id"]).mean())
    for kind in ("overlay", "heatmaps"):
        Image.open(tmp_path / "o" / f"my photo_{kind}.png").verify()


def test_segment_says_what_is_wrong_and_goes_on(photo, tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    concepts = ["--concepts", "cat", "grass", "--out", tmp_path / "o"]
    assert _run(monkeypatch, "segment", broken, *concepts) == 2
    assert "broken.png" in capsys.readouterr().err
    assert _run(monkeypatch, "segment", tmp_path / "missing.png", *concepts) == 2
    assert "missing.png" in capsys.readouterr().err
    assert _run(monkeypatch, "segment", broken, photo, *concepts) == 1
    assert (tmp_path / "o" / "my photo_mask.png").exists()
    assert _run(monkeypatch, "segment", photo, "--concepts", "zebr", "--out", tmp_path / "o") == 2
    assert "zebra" in capsys.readouterr().err


def test_zoo_and_data(monkeypatch, capsys):
    assert _run(monkeypatch, "zoo", "list") == 0
    assert "flux1-schnell" in capsys.readouterr().out
    assert _run(monkeypatch, "zoo", "show", "mini-plain") == 0
    assert "flow matching alone" in " ".join(capsys.readouterr().out.split())
    assert _run(monkeypatch, "zoo", "show", "minni") == 2
    assert "'mini'" in capsys.readouterr().err
    assert _run(monkeypatch, "data", "list") == 0
    assert "scenes" in capsys.readouterr().out
    assert _run(monkeypatch, "data", "path", "scenes") == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "images").is_dir()
    assert (folder / "masks").is_dir()


def test_training_a_probe_writes_a_head_and_can_go_on(tmp_path):
    config = str(ROOT / "configs" / "linear_probe" / "mini_scenes.yaml")
    quick = [*QUICK[:4], "--data.limit", "6", "--trainer.max_epochs", "1", "--out", str(tmp_path)]
    assert train(["--config-file", config, *quick]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert 0 <= results["metrics"]["miou"] <= 1
    assert Image.open(tmp_path / "curve.png").size[0] > 100
    assert list((tmp_path / "tensorboard").iterdir())
    quick[quick.index("1")] = "2"
    assert train(["--config-file", config, *quick, "--resume", "true"]) == 0
    logs = [(tmp_path / f"log-{number}" / "metrics.csv").read_text() for number in (1, 2)]
    assert all("val/miou" in log for log in logs)

    scored = ["--data.splits", "[val]", "--report", "false", "--out", str(tmp_path / "scored"), *QUICK[:4]]
    head = ["--model.head", str(tmp_path / "head")]
    assert evaluate([*head, *scored, "--data.limit", "6"]) == 0
    found = json.loads((tmp_path / "scored" / "results.json").read_text())
    last = json.loads((tmp_path / "results.json").read_text())
    assert found["method"] == "mini + linear"
    assert found["metrics"]["full-vocabulary"]["miou"] == pytest.approx(last["metrics"]["miou"], abs=1e-5)
    with pytest.raises(CorruptWeights, match="'mini', not on 'mini-plain'"):
        evaluate([*head, *scored, "--model.backbone", "mini-plain"])
    with pytest.raises(UserError, match=r"--model\.flip"):
        evaluate([*head, *scored, "--model.flip", "true"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model.kind", "linaer"], "did you mean 'linear'"),
        (["--model.losses", "{dise: 1}"], "did you mean 'dice'"),
        (["--model.flip", "true"], "for evaluation"),
        (["--model.parts", "[concept]"], "did you mean 'concepts'"),
        (["--data.augment", "pics"], "unknown augmentation"),
        (["--keeping.keep", "first"], "unknown head to keep"),
        (["--data.val_split", "null"], "must both be given"),
        (["--resume", "true"], "to resume from"),
    ],
)
def test_training_says_what_is_wrong(given, said, tmp_path):
    config = str(ROOT / "configs" / "linear_probe" / "mini_scenes.yaml")
    with pytest.raises(UserError, match=said):
        train(["--config-file", config, *QUICK, *given, "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_the_package_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "ca_seg", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "segment" in done.stdout
