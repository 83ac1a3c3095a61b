"""`calibrate` and its command on the shipped scenes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.cli.calibrate import run
from ca_seg.cli.main import main
from ca_seg.confidence.calibration import NEVER, read_calibration, vocabulary_fingerprint
from ca_seg.confidence.threshold import ignore_below
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.data.settings import EvaluationData
from ca_seg.decision.argmax import predict_mask
from ca_seg.jobs.calibrate import CalibrationSettings, calibrate
from ca_seg.refine.steps import Refinement
from ca_seg.resources import resource_path
from ca_seg.vocabulary import Vocabulary
from tests.labelling.example_run import mini

ALL_PIXELS = 1_000_000


def test_a_labelling_run_gets_the_promised_precision_from_the_file(tmp_path: Path, capsys) -> None:
    out = tmp_path / "c.json"
    assert (
        run(
            [
                "--backbone",
                "mini",
                "--data.limit",
                "6",
                "--pixels",
                str(ALL_PIXELS),
                "--precision",
                "0.95",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    content, calibration = json.loads(out.read_text()), read_calibration(out)
    printed = capsys.readouterr().out
    assert f"temperature {content['temperature']:.4g}" in printed
    assert printed.splitlines()[-1] == str(out)
    assert Image.open(tmp_path / "c.png").size[0] > 300
    data = open_dataset("scenes").first(6)
    names = data.class_list.names
    vocabulary = Vocabulary.from_names(names)
    assert calibration.vocabulary == vocabulary_fingerprint(vocabulary.classes, vocabulary.phrases)
    assert calibration.backbone == "mini"
    retained, correct, pixels = 0, 0, 0
    for i in range(6):
        ground_truth = data[i]["mask"].numpy()
        recording = mini().record(data[i]["image"], seed=[image_seed(0, data[i]["image_id"])])
        scores = predict_mask(recording.ask(vocabulary).maps(), *ground_truth.shape).scores[0].numpy()
        mask = scores.argmax(0).astype(np.uint8)
        mask = ignore_below(mask, calibration.confidence(scores), calibration.threshold(names))
        retained += int((mask != 255).sum())
        correct += int((mask == ground_truth).sum())
        pixels += ground_truth.size
    assert content["figures"]["pixels"] == pixels
    assert content["figures"]["coverage"] == pytest.approx(retained / pixels, abs=2e-4)
    assert content["figures"]["precision"] == pytest.approx(correct / retained, abs=2e-4)
    assert content["figures"]["precision"] >= 0.95


def test_in_python_with_a_loaded_backbone(tmp_path: Path) -> None:
    settings = CalibrationSettings(pixels=5000)
    result = calibrate(mini(), EvaluationData(split="val", limit=4), settings, precision=0.9, out=tmp_path / "c.json")
    assert result.fitted.figures["precision"] >= 0.9
    assert (result.images, result.skipped) == (4, ())
    assert read_calibration(tmp_path / "c.json") == result.calibration
    by_name = calibrate("mini", EvaluationData(splits=["val"], limit=4), settings, precision=0.9)
    assert by_name.calibration == result.calibration


def test_a_broken_image_and_one_threshold_per_class(tmp_path: Path, capsys) -> None:
    root, source = tmp_path / "sample", resource_path("datasets", "scenes")
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
        for i in range(5):
            shutil.copy(source / part / f"scene_{i:04d}.png", root / part)
    shutil.copy(source / "classes.json", root)
    (root / "images" / "scene_0003.png").write_bytes(b"broken")
    out = tmp_path / "c.json"
    arguments = ["--data.name", "folder", "--data.root", str(root), "--per_class", "true", "--precision", "0.9"]
    assert run([*arguments, "--pixels", "20000", "--out", str(out)]) == 1
    assert "scene_0003.png" in capsys.readouterr().out
    content, calibration = json.loads(out.read_text()), read_calibration(out)
    assert len(content["skipped"]) == 1
    assert content["figures"]["images"] == 4
    assert sum(value == NEVER for value in calibration.thresholds.values()) == len(content["never"]) > 100
    assert len(calibration.thresholds) == 166
    assert content["figures"]["precision"] >= 0.9


def test_a_refinement_that_overshoots_can_be_calibrated_as_it_can_be_labelled_by() -> None:
    settings = CalibrationSettings(pixels=5000, refine=Refinement(steps=["guided-filter"]))
    result = calibrate(mini(), EvaluationData(split="val", limit=4), settings, precision=0.9)
    assert result.fitted.figures["precision"] >= 0.9
    assert (result.images, result.skipped) == (4, ())


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--precision", "2"], "2"),
        (["--measure", "size"], "'size'"),
        (["--model.softmax", "false"], "model.softmax"),
        (["--data.splits", "[train,val]"], "train, val"),
        (["--pixels", "0"], "0"),
        (["--model.backbone", "nini"], "mini"),
    ],
)
def test_errors_name_the_wrong_value(arguments: list[str], value: str, tmp_path: Path, capsys) -> None:
    assert main(["calibrate", *arguments, "--out", str(tmp_path / "c.json")]) == 2
    assert value in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def test_former_option_names_are_still_read(tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    arguments = [
        "--backbone",
        "mini",
        "--data.splits",
        "[val]",
        "--data.limit",
        "2",
        "--least_pixels",
        "10",
        "--measure",
        "max_share",
    ]
    assert run([*arguments, "--precision", "0.5", "--pixels", "1000", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert (content["measure"], content["dataset"]["split"]) == ("max_probability", "val")
    out.write_text(json.dumps(content | {"measure": "max_share"}))
    assert read_calibration(out).measure == "max_probability"
