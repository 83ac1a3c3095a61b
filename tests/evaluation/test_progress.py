"""An interrupted evaluation resumes and has the same results; so has an evaluation in two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from ca_seg.backbones.load import load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.evaluation.progress import Progress
from ca_seg.evaluation.run import score
from ca_seg.heads.trained import TrainedHead
from ca_seg.jobs.evaluate import EvaluationSettings, evaluate
from ca_seg.predictors.settings import MethodSettings
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from tests.jobs.small_training import two_classes

ROOT = Path(__file__).parents[2]
CONFIG = "configs/zero_shot/mini_scenes.yaml"


class Killed(Exception):
    """Ends an evaluation like a kill: no later code runs."""


class KillAfter(pl.Callback):
    """Raises Killed when a number of batches is done."""

    def __init__(self, batches):
        self.batches = batches

    def on_test_batch_start(self, trainer, task, batch, batch_idx, dataloader_idx=0):
        if batch_idx == self.batches:
            raise Killed


class KillAtTheEnd(pl.Callback):
    """Raises Killed when all images are scored, before the results exist."""

    def on_test_epoch_end(self, trainer, task):
        raise Killed


def _trainer(*callbacks):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip


def _score(file, *callbacks, settings="a"):
    data = SegmentationData("scenes", split="shifted", batch_size=4, limit=20)
    record = ZeroShotPredictor(load_backbone("mini"))
    progress = None if file is None else Progress(file, settings, seconds=0.0)
    return score(_trainer(*callbacks), record, data, seed=0, progress=progress)


@pytest.mark.parametrize(("end", "done"), [(KillAfter(1), 4), (KillAfter(4), 16), (KillAtTheEnd(), 20)])
def test_a_killed_evaluation_resumes_and_has_the_same_results(tmp_path, end, done):
    uninterrupted = _score(None)
    file = tmp_path / "progress.safetensors"
    with pytest.raises(Killed):
        _score(file, end)
    counts = []
    resumed = _score(file, CountImages(counts))
    assert sum(counts) == resumed.run == 20 - done
    assert resumed.task.figures == uninterrupted.task.figures
    assert resumed.task.intervals == uninterrupted.task.intervals
    assert resumed.task.images == uninterrupted.task.images
    assert resumed.task.reliability == uninterrupted.task.reliability
    assert resumed.complete


def test_a_process_without_images_has_an_empty_batch():
    data = SegmentationData("scenes", split="shifted", limit=1)
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)
    (batch,) = data.test_dataloader()
    assert batch["image_id"] == batch["skipped"] == []


class CountImages(pl.Callback):
    """Appends the number of images of each batch to `counts`."""

    def __init__(self, counts):
        self.counts = counts

    def on_test_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0):
        self.counts.append(len(batch["image_id"]))


def test_progress_of_other_settings_and_a_broken_file_are_refused(tmp_path):
    file = tmp_path / "progress.safetensors"
    with pytest.raises(Killed):
        _score(file, KillAfter(1))
    with pytest.raises(UserError, match=r"progress\.safetensors"):
        _score(file, settings="b")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=r"progress\.safetensors"):
        _score(file)


def _folder_evaluation(root, out, *, batches=None, **changes):
    """Of mini on a folder; it is stopped after a number of batches."""
    trainer = {"enable_progress_bar": False} | ({} if batches is None else {"callbacks": [KillAfter(batches)]})
    options = EvaluationSettings(data=EvaluationData("folder", str(root), batch_size=2), report=False, trainer=trainer)
    backbone = changes.pop("backbone", "mini")
    return evaluate(backbone, None, options, device="cpu", out=out, **changes)


def test_an_evaluation_of_another_head_or_backbone_does_not_continue(tmp_path):
    root = two_classes(tmp_path / "data")
    torch.manual_seed(0)
    words = {"classes": ["cat", "grass"], "phrases": [["cat"], ["grass"]]}
    head = TrainedHead(kind="linear", backbone="mini", channels=4, parts=["contrasts"], resolution=64, **words)
    head.save_pretrained(tmp_path / "head")
    loaded = load_backbone("mini", resolution=64)
    for number, method in enumerate(({"head": tmp_path / "head"}, {"head": head}, {"backbone": loaded})):
        out = tmp_path / str(number)
        with pytest.raises(Killed):
            _folder_evaluation(root, out, batches=2, **method)
        assert _folder_evaluation(root, tmp_path / f"{number}-whole", **method).content["metrics"]
    with torch.no_grad():
        head.head.layers[2].bias += 1
    head.save_pretrained(tmp_path / "head")
    other = load_backbone("mini", random_weights=True, resolution=64)
    for number, method in enumerate(({"head": tmp_path / "head"}, {"head": head}, {"backbone": other})):
        with pytest.raises(UserError, match="other settings"):
            _folder_evaluation(root, tmp_path / str(number), **method)
    resumed = _folder_evaluation(root, tmp_path / "2", backbone=loaded)
    whole = _folder_evaluation(root, tmp_path / "2-again", backbone=loaded)
    assert resumed.content["metrics"] == whole.content["metrics"]


def test_a_mended_image_is_scored_and_a_changed_one_is_refused(tmp_path):
    root, model = two_classes(tmp_path / "data"), MethodSettings(backbone="mini", resolution=64)
    image, counted = root / "images" / "01.png", root / "images" / "00.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])
    with pytest.raises(Killed):
        _folder_evaluation(root, tmp_path / "out", batches=2, backbone=model)
    image.write_bytes(content)
    former = counted.read_bytes()
    counted.write_bytes(former + b"another size")
    with pytest.raises(UserError, match="changed"):
        _folder_evaluation(root, tmp_path / "out", backbone=model)
    counted.write_bytes(former)
    results = _folder_evaluation(root, tmp_path / "out", backbone=model)
    assert results.complete
    assert results.content["skipped"] == []
    whole = _folder_evaluation(root, tmp_path / "whole", backbone=model)
    assert results.content["images"] == whole.content["images"]
    for protocol, figures in whole.content["metrics"].items():
        assert results.content["metrics"][protocol]["miou"] == figures["miou"]


@pytest.mark.slow
def test_two_processes_have_the_results_of_one_and_can_be_compared(tmp_path):
    """Batches differ, so a pixel with two nearly equal scores may get the other class."""
    results = []
    common = ["--config-file", CONFIG, "--compare", "[]", "--expect", "{}", "--report", "false", "--data.limit", "11"]
    for devices in ("1", "2"):
        out = tmp_path / devices
        run = [sys.executable, "eval.py", *common, "--trainer.accelerator", "cpu", "--trainer.devices", devices]
        subprocess.run([*run, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
        results.append(json.loads((out / "results.json").read_text()))
    single, parallel = results
    assert single["images"]["shifted"].keys() == parallel["images"]["shifted"].keys()
    assert len(parallel["images"]["shifted"]["full-vocabulary"]) == 11
    for protocol, figures in single["metrics"].items():
        assert parallel["metrics"][protocol] == pytest.approx(figures, abs=2e-4)
    compared = subprocess.run(
        [sys.executable, "-m", "ca_seg", "compare", *(str(tmp_path / d / "results.json") for d in ("1", "2"))],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "shifted" in compared.stdout
    assert "+0.00" in compared.stdout
    broken = tmp_path / "x.json"
    broken.write_text("{}")
    refused = subprocess.run(
        [sys.executable, "-m", "ca_seg", "compare", str(broken), str(broken)], cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "x.json" in refused.stderr
