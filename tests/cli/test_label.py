"""Labelling whole folders, as a user types it: in one process, in two, killed, to a full disk, by a head."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import torch
from PIL import Image

from ca_seg.backbones.load import load_backbone
from ca_seg.confidence.calibration import SCHEMA
from ca_seg.confidence.numpy_measures import margin
from ca_seg.data.read import read_image
from ca_seg.decision.argmax import predict_mask
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.fingerprint import fingerprint
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.zero_shot import image_seed
from ca_seg.vocabulary import Vocabulary
from tests.cli.labelling import NAMES, ROOT, arguments, image, manifest, run, summary, tree


def test_labels_are_what_the_backbone_says(place):
    assert run(place, threshold=0.2, formats="[png, scores]") == 0
    backbone, words = load_backbone("mini", resolution=32), Vocabulary.from_names(NAMES)
    entries = manifest(place)
    assert list(entries) == ["a/1", "a/2", "b/1", "b/c/my image", "b/ü'\"", "d", "e"]
    for key, entry in entries.items():
        file = place / "in" / entry["image"]
        image = read_image(file)[None]
        recording = backbone.record(image, seed=[image_seed(0, key)])
        scores = predict_mask(recording.ask(words).maps(space="output"), *image.shape[-2:]).scores[0]
        sure = margin(scores.numpy())
        kept = np.asarray(Image.open(place / "out" / "png" / "masks" / f"{key}.png"))
        stored = np.asarray(Image.open(place / "out" / "confidence" / f"{key}.png"))
        soft = np.load(place / "out" / "scores" / "scores" / f"{key}.npz")["scores"]
        clear = abs(sure - 0.2) > 1e-3  # the batch of two may differ in the last digits
        np.testing.assert_array_equal((kept == 255)[clear], (sure < 0.2)[clear])
        agreed = kept[kept != 255] == scores.argmax(dim=0).numpy()[kept != 255]
        assert agreed.mean() > 0.999
        np.testing.assert_allclose(stored / 255, sure, atol=3e-3)
        np.testing.assert_allclose(soft, scores.numpy(), atol=2e-3)
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (entry["height"], entry["width"]) == kept.shape
        assert entry["area"] == {name: int((kept == i).sum()) for i, name in enumerate(NAMES) if (kept == i).any()}
        assert all((place / "out" / output).is_file() for output in entry["outputs"])
    told = summary(place)
    assert told["images"] == told["labelled"] == 7
    for index, name in enumerate(NAMES):
        pixels = sum(entry["area"].get(name, 0) for entry in entries.values())
        assert told["classes"][name]["pixels"] == pixels, index
        assert told["classes"][name]["images"] == sum(name in entry["area"] for entry in entries.values())
    whole = sum(entry["height"] * entry["width"] for entry in entries.values())
    assert told["ignored_pixels"] == whole - sum(told["classes"][name]["pixels"] for name in NAMES)
    about = json.loads((place / "out" / "run.json").read_text())
    assert about["classes"] == list(NAMES)
    assert about["images"]["root"] == str(place / "in") == about["images"]["folder"]


def test_the_same_command_again_does_what_is_missing(place, capsys):
    assert run(place, "whole", formats="[png, coco]") == 0
    held = place / "in" / "b" / "1.png"
    content = held.read_bytes()
    held.unlink()
    assert run(place, formats="[png, coco]") == 0
    held.write_bytes(content)
    before = (place / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns
    assert run(place, formats="[png, coco]") == 0
    assert summary(place)["labelled"] == 1
    assert (place / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns == before
    assert run(place, formats="[png, coco]") == 0
    assert summary(place)["labelled"] == 0
    assert "7 in all" in capsys.readouterr().out
    assert sorted(tree(place / "out")) == sorted(tree(place / "whole"))
    image(99, size=(50, 40)).save(held)
    assert run(place, formats="[png, coco]") == 0
    assert summary(place)["labelled"] == 1
    assert (manifest(place)["b/1"]["height"], manifest(place)["b/1"]["width"]) == (50, 40)
    assert Image.open(place / "out" / "png" / "masks" / "b" / "1.png").size == (40, 50)
    assert len(manifest(place)) == 7


def command(place, out, **changes):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "ca_seg", "label", *arguments(place, out, **changes)]
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def test_killed_and_gone_on_in_two_processes_is_as_never_stopped(place):
    """The whole run in this process; the other is killed in the midst and goes on with another world size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for number in range(150):
        image(number).save(place / "in" / "a" / f"more{number:03d}.png")
    assert run(place, "whole", formats="[png, yolo]") == 0
    torch.set_num_threads(threads)
    first = command(place, "out", formats="[png, yolo]", **{"data.num_workers": 1})
    part = place / "out" / ".manifests" / "rank-0.jsonl"
    until = time.monotonic() + 200
    while not (part.exists() and part.read_bytes().count(b"\n") > 20):
        assert first.poll() is None, first.stdout.read().decode()
        assert time.monotonic() < until
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = part.read_bytes().count(b"\n") - 1
    assert 20 <= done < 157
    second = command(place, "out", formats="[png, yolo]", **{"trainer.devices": 2})
    said = second.communicate(timeout=300)[0].decode()
    assert second.returncode == 0, said
    assert f"{157 - done} labelled now, 157 in all" in said
    assert tree(place / "out") == tree(place / "whole")
    parts = [(place / "out" / ".manifests" / f"rank-{rank}.jsonl").read_bytes().count(b"\n") - 1 for rank in (0, 1)]
    assert sum(parts) == 157 - done
    assert min(parts) > 0


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(place, monkeypatch, capsys):
    """The disk takes four images: after that os.replace, with which every file is put in place, says it is full."""
    real, count = os.replace, []

    def full(source, target):
        count.append(target)
        if str(target).endswith(".png") and len(count) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("ca_seg.atomic.os.replace", full)
        assert run(place) == 2
    error = capsys.readouterr().err.strip()
    assert "No space left on device" in error
    assert error.count("error: ") == 1
    assert not list((place / "out").rglob("*.part"))
    assert run(place) == 0
    assert len(manifest(place)) == 7
    assert 1 <= summary(place)["labelled"] < 7


def test_refinement_agreement_temperature_and_calibration(place):
    """Each changes what it should and nothing else."""
    assert run(place, "plain") == 0
    assert run(place, "agreed", confidence="agreement", **{"model.noise_samples": 3}) == 0
    values = {
        value for path in (place / "agreed" / "confidence").rglob("*.png") for value in np.unique(Image.open(path))
    }
    assert values <= {0, 85, 170, 255}
    assert len(values) > 1
    assert run(place, "few", **{"refine.steps": "[absence]", "refine.absence_relative": 1.0}) == 0
    assert all(len(entry["area"]) == 1 for entry in manifest(place, "few").values())
    assert run(place, "fine", **{"refine.steps": "[guided-filter]"}) == 0
    assert list(manifest(place, "fine")) == list(manifest(place, "plain"))
    words = {"classes": list(NAMES), "phrases": [[name] for name in NAMES]}
    file = place / "calibration.json"
    thresholds = dict.fromkeys(NAMES, 0.0) | {"cat": 1.01}
    fitted = {"schema": SCHEMA, "temperature": 0.5, "measure": "margin", "thresholds": thresholds, "backbone": "mini"}
    fitted |= {"vocabulary": fingerprint(words), "figures": {}}
    file.write_text(json.dumps(fitted))
    assert run(place, "sure", calibration=file) == 0
    for key, entry in manifest(place, "plain").items():
        plain, sure = (
            np.asarray(Image.open(place / out / "confidence" / f"{key}.png")).astype(int) for out in ("plain", "sure")
        )
        assert (sure >= plain - 1).all()
        assert sure.sum() > plain.sum()
        tempered = manifest(place, "sure")[key]["area"]
        assert tempered == {name: area for name, area in entry["area"].items() if name != "cat"}
    file.write_text(json.dumps(fitted | {"backbone": "mini-plain"}))
    assert run(place, "other", calibration=file) == 2


def test_a_trained_head_labels_as_it_segments(place):
    """Labels of a head are its own segmentation; one for other words is refused, and other weights are another run."""
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
    head.save_pretrained(place / "head")
    given = {"model.head": place / "head"}
    assert run(place, **given) == 0
    for key, entry in manifest(place).items():
        expected = head.segment(backbone, read_image(place / "in" / entry["image"])[None], seed=image_seed(0, key))
        mask = np.asarray(Image.open(place / "out" / "png" / "masks" / f"{key}.png"))
        assert (mask == expected[0].numpy()).mean() > 0.999  # rounding on ties
    with torch.no_grad():
        head.head.layers[2].bias += 1
    head.save_pretrained(place / "head")
    assert run(place, **given) == 2
    (place / "words.yaml").write_text("classes: [cat, dog]\n")
    assert run(place, "other", **given) == 2
