"""`ca-seg train` as a user types it, and the evaluation of its head by `ca-seg eval`."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from ca_seg.cli.evaluate import run as evaluate
from ca_seg.cli.train import run as train
from ca_seg.errors import CorruptWeights, UserError
from tests.cli.commands import CPU, QUICK, ROOT


def test_training_a_probe_writes_a_head_and_can_be_resumed(tmp_path):
    config = str(ROOT / "configs" / "linear_probe" / "mini_scenes.yaml")
    quick = [*CPU, "--data.limit", "6", "--trainer.max_epochs", "1", "--out", str(tmp_path)]
    assert train(["--config-file", config, *quick]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert 0 <= results["metrics"]["miou"] <= 1
    assert Image.open(tmp_path / "curve.png").size[0] > 100
    assert list((tmp_path / "tensorboard").iterdir())
    quick[quick.index("1")] = "2"
    assert train(["--config-file", config, *quick, "--resume", "true"]) == 0
    logs = [(tmp_path / f"log-{number}" / "metrics.csv").read_text() for number in (1, 2)]
    assert all("val/miou" in log for log in logs)

    options = ["--data.splits", "[val]", "--report", "false", "--out", str(tmp_path / "scored"), *CPU]
    head = ["--model.head", str(tmp_path / "head")]
    assert evaluate([*head, *options, "--data.limit", "6"]) == 0
    evaluation = json.loads((tmp_path / "scored" / "results.json").read_text())
    training = json.loads((tmp_path / "results.json").read_text())
    assert evaluation["method"] == "mini + linear"
    assert evaluation["metrics"]["full-vocabulary"]["miou"] == pytest.approx(training["metrics"]["miou"], abs=1e-5)
    with pytest.raises(CorruptWeights, match=r"'mini'.*'mini-plain'"):
        evaluate([*head, *options, "--model.backbone", "mini-plain"])
    with pytest.raises(UserError, match=r"model\.flip"):
        evaluate([*head, *options, "--model.flip", "true"])


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--model.kind", "linaer"], "'linear'"),
        (["--model.losses", "{dise: 1}"], "'dice'"),
        (["--model.flip", "true"], r"model\.flip"),
        (["--model.parts", "[concept]"], "'concepts'"),
        (["--data.augment", "pics"], "pics"),
        (["--keeping.keep", "first"], "first"),
        (["--data.val_split", "null"], "val_split"),
        (["--resume", "true"], r"last\.ckpt"),
    ],
)
def test_bad_arguments_are_refused_before_training(arguments, value, tmp_path):
    config = str(ROOT / "configs" / "linear_probe" / "mini_scenes.yaml")
    with pytest.raises(UserError, match=value):
        train(["--config-file", config, *QUICK, *arguments, "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
