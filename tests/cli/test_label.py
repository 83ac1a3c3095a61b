"""`ca-seg label` on a folder: in one process, in two, killed, on a full disk, with a head."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.backbones.load import load_backbone
from ca_seg.confidence.calibration import SCHEMA
from ca_seg.data.read import read_image
from ca_seg.decision.argmax import predict_mask
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.fingerprint import fingerprint
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.zero_shot import image_seed
from ca_seg.vocabulary import Vocabulary
from tests.cli.labelling import NAMES, ROOT, arguments, image, manifest, run, summary, tree
from tests.confidence.numpy_measures import margin


def test_labels_equal_the_segmentation_of_the_backbone(workdir):
    assert run(workdir, threshold=0.2, formats="[png, scores]") == 0
    backbone, words = load_backbone("mini", resolution=32), Vocabulary.from_names(NAMES)
    entries = manifest(workdir)
    assert list(entries) == ["a/1", "a/2", "b/1", "b/c/my image", "b/ü'\"", "d", "e"]
    for key, entry in entries.items():
        file = workdir / "in" / entry["image"]
        image = read_image(file)[None]
        recording = backbone.record(image, seed=[image_seed(0, key)])
        scores = predict_mask(recording.ask(words).maps(space="output"), *image.shape[-2:]).scores[0]
        confidence = margin(scores.numpy())
        mask = np.asarray(Image.open(workdir / "out" / "png" / "masks" / f"{key}.png"))
        stored = np.asarray(Image.open(workdir / "out" / "confidence" / f"{key}.png"))
        soft = np.load(workdir / "out" / "scores" / "scores" / f"{key}.npz")["scores"]
        certain = abs(confidence - 0.2) > 1e-3  # a batch of two may differ in the last digits
        np.testing.assert_array_equal((mask == 255)[certain], (confidence < 0.2)[certain])
        agreeing = mask[mask != 255] == scores.argmax(dim=0).numpy()[mask != 255]
        assert agreeing.mean() > 0.999
        np.testing.assert_allclose(stored / 255, confidence, atol=3e-3)
        np.testing.assert_allclose(soft, scores.numpy(), atol=2e-3)
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (entry["height"], entry["width"]) == mask.shape
        assert entry["area"] == {name: int((mask == i).sum()) for i, name in enumerate(NAMES) if (mask == i).any()}
        assert all((workdir / "out" / output).is_file() for output in entry["outputs"])
    content = summary(workdir)
    assert content["images"] == content["labelled"] == 7
    for index, name in enumerate(NAMES):
        pixels = sum(entry["area"].get(name, 0) for entry in entries.values())
        assert content["classes"][name]["pixels"] == pixels, index
        assert content["classes"][name]["images"] == sum(name in entry["area"] for entry in entries.values())
    pixels = sum(entry["height"] * entry["width"] for entry in entries.values())
    assert content["ignored_pixels"] == pixels - sum(content["classes"][name]["pixels"] for name in NAMES)
    about = json.loads((workdir / "out" / "run.json").read_text())
    assert about["classes"] == list(NAMES)
    assert about["images"]["root"] == str(workdir / "in") == about["images"]["folder"]


def test_the_same_command_again_labels_missing_and_changed_images(workdir, capsys):
    assert run(workdir, "whole", formats="[png, coco]") == 0
    changed = workdir / "in" / "b" / "1.png"
    former = changed.read_bytes()
    changed.unlink()
    assert run(workdir, formats="[png, coco]") == 0
    changed.write_bytes(former)
    before = (workdir / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns
    assert run(workdir, formats="[png, coco]") == 0
    assert summary(workdir)["labelled"] == 1
    assert (workdir / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns == before
    assert run(workdir, formats="[png, coco]") == 0
    assert summary(workdir)["labelled"] == 0
    assert re.search(r"\b0\b.*\b7\b", capsys.readouterr().out.splitlines()[-1])
    assert sorted(tree(workdir / "out")) == sorted(tree(workdir / "whole"))
    image(99, size=(50, 40)).save(changed)
    assert run(workdir, formats="[png, coco]") == 0
    assert summary(workdir)["labelled"] == 1
    assert (manifest(workdir)["b/1"]["height"], manifest(workdir)["b/1"]["width"]) == (50, 40)
    assert Image.open(workdir / "out" / "png" / "masks" / "b" / "1.png").size == (40, 50)
    assert len(manifest(workdir)) == 7


def test_labels_of_a_part_are_not_complete(workdir, capsys):
    assert run(workdir, **{"trainer.limit_predict_batches": 1}) == 1
    assert summary(workdir)["missing"] == 7 - summary(workdir)["images"] > 0
    assert f"{summary(workdir)['missing']} images have no label yet" in capsys.readouterr().out
    assert run(workdir) == 0
    assert summary(workdir)["missing"] == 0


def start(workdir, out, **changes):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, "-m", "ca_seg", "label", *arguments(workdir, out, **changes)]
    return subprocess.Popen(
        command_line,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.slow
def test_killed_and_resumed_in_two_processes_gives_the_same_bytes(workdir):
    """A run that was not interrupted, against one that was killed and resumed in two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for number in range(150):
        image(number).save(workdir / "in" / "a" / f"more{number:03d}.png")
    assert run(workdir, "whole", formats="[png, yolo]") == 0
    torch.set_num_threads(threads)
    first = start(workdir, "out", formats="[png, yolo]", **{"data.num_workers": 1})
    part = workdir / "out" / ".manifests" / "rank-0.jsonl"
    deadline = time.monotonic() + 200
    while not (part.exists() and part.read_bytes().count(b"\n") > 20):
        assert first.poll() is None, first.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = part.read_bytes().count(b"\n") - 1
    assert 20 <= done < 157
    second = start(workdir, "out", formats="[png, yolo]", **{"trainer.devices": 2})
    output = second.communicate(timeout=300)[0].decode()
    assert second.returncode == 0, output
    assert re.search(rf"\b{157 - done}\b.*\b157\b", output)
    assert tree(workdir / "out") == tree(workdir / "whole")
    parts = [(workdir / "out" / ".manifests" / f"rank-{rank}.jsonl").read_bytes().count(b"\n") - 1 for rank in (0, 1)]
    assert sum(parts) == 157 - done
    assert min(parts) > 0


def test_a_full_disk_ends_the_run_and_it_can_be_resumed(workdir, monkeypatch, capsys):
    """The disk takes a few images. Then os.replace, which moves each file into place, reports a full disk."""
    os_replace, targets = os.replace, []

    def replace_until_full(source, target):
        targets.append(target)
        if str(target).endswith(".png") and len(targets) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("ca_seg.atomic.os.replace", replace_until_full)
        assert run(workdir) == 2
    error = capsys.readouterr().err.strip()
    assert os.strerror(errno.ENOSPC) in error
    assert error.count("error: ") == 1
    assert not list((workdir / "out").rglob("*.part"))
    assert run(workdir) == 0
    assert len(manifest(workdir)) == 7
    assert 1 <= summary(workdir)["labelled"] < 7


def test_refinement_agreement_temperature_and_calibration(workdir):
    """Each option has its documented effect and no other."""
    assert run(workdir, "plain") == 0
    assert run(workdir, "agreement", confidence="agreement", **{"model.noise_samples": 3}) == 0
    values = {
        value for path in (workdir / "agreement" / "confidence").rglob("*.png") for value in np.unique(Image.open(path))
    }
    assert values <= {0, 85, 170, 255}
    assert len(values) > 1
    assert run(workdir, "few", **{"refine.steps": "[absence]", "refine.absence_relative": 1.0}) == 0
    assert all(len(entry["area"]) == 1 for entry in manifest(workdir, "few").values())
    assert run(workdir, "refined", **{"refine.steps": "[guided-filter]"}) == 0
    assert list(manifest(workdir, "refined")) == list(manifest(workdir, "plain"))
    words = {"classes": list(NAMES), "phrases": [[name] for name in NAMES]}
    file = workdir / "calibration.json"
    thresholds = dict.fromkeys(NAMES, 0.0) | {"cat": 1.01}
    calibration = {
        "schema": SCHEMA,
        "temperature": 0.5,
        "measure": "margin",
        "thresholds": thresholds,
        "backbone": "mini",
    }
    calibration |= {"vocabulary": fingerprint(words), "figures": {}}
    file.write_text(json.dumps(calibration))
    assert run(workdir, "calibrated", calibration=file) == 0
    for key, entry in manifest(workdir, "plain").items():
        plain, calibrated = (
            np.asarray(Image.open(workdir / out / "confidence" / f"{key}.png")).astype(int)
            for out in ("plain", "calibrated")
        )
        assert (calibrated >= plain - 1).all()
        assert calibrated.sum() > plain.sum()
        area_by_class = manifest(workdir, "calibrated")[key]["area"]
        assert area_by_class == {name: area for name, area in entry["area"].items() if name != "cat"}
    file.write_text(json.dumps(calibration | {"backbone": "mini-plain"}))
    assert run(workdir, "other", calibration=file) == 2


def test_labels_of_a_trained_head_equal_its_segmentation(workdir):
    """A head for other words is refused, and a head with other weights belongs to another run."""
    backbone = load_backbone("mini", resolution=32)
    source = FrozenFeatures(backbone, Vocabulary.from_names(NAMES))
    torch.manual_seed(0)
    head = TrainedHead(
        kind="linear",
        backbone="mini",
        classes=list(NAMES),
        phrases=[[name] for name in NAMES],
        channels=source.channels,
        parts=["concepts"],
        stride=source.stride,
    )
    head.save_pretrained(workdir / "head")
    options = {"model.head": workdir / "head"}
    assert run(workdir, **options) == 0
    for key, entry in manifest(workdir).items():
        expected = head.segment(backbone, read_image(workdir / "in" / entry["image"])[None], seed=image_seed(0, key))
        mask = np.asarray(Image.open(workdir / "out" / "png" / "masks" / f"{key}.png"))
        assert (mask == expected[0].numpy()).mean() > 0.999  # rounding on ties
    with torch.no_grad():
        head.head.layers[2].bias += 1
    head.save_pretrained(workdir / "head")
    assert run(workdir, **options) == 2
    (workdir / "words.yaml").write_text("classes: [cat, dog]\n")
    assert run(workdir, "other", **options) == 2
