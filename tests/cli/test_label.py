"""Labelling whole folders, as a user types it: in one process, in two, killed, and with all sorts of pictures."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from ca_seg.backbones.load import load_backbone
from ca_seg.cli.guarded import guarded
from ca_seg.cli.label import label
from ca_seg.data.read import read_image
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.trained import TrainedHead
from ca_seg.heads.zero_shot import decide
from ca_seg.labels.calibration import SCHEMA
from ca_seg.labels.confidence import margin
from ca_seg.labels.entry import fingerprint_of
from ca_seg.tasks.zero_shot import picture_seed
from ca_seg.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
NAMES = ("cat", "grass", "sky", "water")
SIZES = ((40, 56), (48, 48), (30, 64))


def picture(number, size=None):
    height, width = size or SIZES[number % len(SIZES)]
    blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def place(tmp_path):
    """PLACE/in with seven pictures in folders, two of one name, and PLACE/words.yaml."""
    for number, name in enumerate(
        ["a/1.png", "a/2.png", "b/1.png", "b/c/my picture.png", "b/ü'\".png", "d.png", "e.png"]
    ):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(file)
    (tmp_path / "words.yaml").write_text(f"classes: [{', '.join(NAMES)}]\n")
    return tmp_path


def arguments(place, out="out", **changes):
    settings = {
        "data.root": place / "in",
        "vocabulary": place / "words.yaml",
        "model.resolution": 32,
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
        "out": place / out,
    }
    return [str(word) for key, value in (settings | changes).items() for word in (f"--{key}", value)]


def run(place, out="out", **changes):
    return guarded(lambda: label(arguments(place, out, **changes)))


def summary(place, out="out"):
    return json.loads((place / out / "summary.json").read_text())


def manifest(place, out="out"):
    lines = (place / out / "manifest.jsonl").read_text().splitlines()[1:]
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def tree(out):
    """All that a run leaves, but for how long it took and when."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.startswith(".manifests") or name in ("run.json", "summary.json", ".lock"):
            continue
        found[name] = path.read_bytes()
    lines = [json.loads(line) for line in found["manifest.jsonl"].splitlines()]
    found["manifest.jsonl"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return found


def test_labels_are_what_the_backbone_says(place):
    assert run(place, threshold=0.2, formats="[png, scores]") == 0
    backbone, words = load_backbone("mini", resolution=32), Vocabulary.from_names(NAMES)
    entries = manifest(place)
    assert list(entries) == ["a/1", "a/2", "b/1", "b/c/my picture", "b/ü'\"", "d", "e"]
    for key, entry in entries.items():
        file = place / "in" / entry["picture"]
        image = read_image(file)[None]
        recording = backbone.record(image, seed=[picture_seed(0, key)])
        scores = decide(recording.ask(words).maps(space="output"), *image.shape[-2:]).scores[0]
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
    assert told["pictures"] == told["labelled"] == 7
    for index, name in enumerate(NAMES):
        pixels = sum(entry["area"].get(name, 0) for entry in entries.values())
        assert told["classes"][name]["pixels"] == pixels, index
        assert told["classes"][name]["pictures"] == sum(name in entry["area"] for entry in entries.values())
    whole = sum(entry["height"] * entry["width"] for entry in entries.values())
    assert told["ignored_pixels"] == whole - sum(told["classes"][name]["pixels"] for name in NAMES)
    about = json.loads((place / "out" / "run.json").read_text())
    assert about["classes"] == list(NAMES)
    assert about["pictures"]["root"] == str(place / "in") == about["pictures"]["folder"]


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
    picture(99, size=(50, 40)).save(held)
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
        picture(number).save(place / "in" / "a" / f"more{number:03d}.png")
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
    written = part.read_bytes().count(b"\n") - 1
    assert 20 <= written < 157
    second = command(place, "out", formats="[png, yolo]", **{"trainer.devices": 2})
    said = second.communicate(timeout=300)[0].decode()
    assert second.returncode == 0, said
    assert f"{157 - written} labelled now, 157 in all" in said
    assert tree(place / "out") == tree(place / "whole")
    parts = [(place / "out" / ".manifests" / f"rank-{rank}.jsonl").read_bytes().count(b"\n") - 1 for rank in (0, 1)]
    assert sum(parts) == 157 - written
    assert min(parts) > 0


def test_all_sorts_of_pictures(place):
    folder = place / "in"
    for path in folder.rglob("*.png"):
        path.unlink()
    plain = picture(0, size=(40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=exif)
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    plain.convert("L").save(folder / "gray.png")
    Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    plain.save(folder / "moving.gif", save_all=True, append_images=[picture(1, size=(40, 60))])
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    Image.new("RGB", (2000, 20000), "blue").save(folder / "tall.png")
    Image.new("RGB", (40, 800)).save(folder / "stretched.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    plain.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-300])
    plain.save(folder / "back\\slash.png")
    plain.save(os.fsencode(folder) + b"/bad\xff.png", format="PNG")
    assert run(place, formats="[png, coco, yolo]") == 1
    sizes = {key: (entry["height"], entry["width"]) for key, entry in manifest(place).items()}
    assert sizes == {
        "cmyk": (40, 60), "deep": (40, 60), "gray": (40, 60), "moving": (40, 60), "one": (1, 1), "tall": (20000, 2000),
        "turned": (60, 40),
    }  # fmt: skip
    for key, (height, width) in sizes.items():
        with Image.open(place / "out" / "png" / "masks" / f"{key}.png") as mask:
            assert mask.size == (width, height)
    reasons = {Path(s["picture"]).name: s["reason"] for s in summary(place)["skipped"]}
    assert sorted(reasons) == ["back\\slash.png", "bad\\udcff.png", "cut.jpg", "empty.png", "stretched.png", "text.jpg"]
    assert "1 : 16" in reasons["stretched.png"]
    assert "not a picture" in reasons["text.jpg"]


def test_names_that_no_file_system_takes_cost_that_picture(place):
    """One is too long; d.jpg's label d.png would be a file where another's label needs a folder."""
    picture(0).save(place / "in" / ("n" * 245 + ".png"))
    (place / "in" / "d.png").rename(place / "in" / "d.jpg")
    (place / "in" / "d.png").mkdir()
    picture(0).save(place / "in" / "d.png" / "y.png")
    assert run(place) == 1
    reasons = {Path(skip["picture"]).name[:3]: skip["reason"] for skip in summary(place)["skipped"]}
    assert "Allowed: up to 240" in reasons.pop("nnn")
    assert len(reasons) == 1
    assert set(reasons) < {"d.j", "y.p"}
    assert len(manifest(place)) == 7


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(place, monkeypatch, capsys):
    """The disk takes four pictures: after that os.replace, with which every file is put in place, says it is full."""
    real, count = os.replace, []

    def full(source, target):
        count.append(target)
        if str(target).endswith(".png") and len(count) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("ca_seg.written.os.replace", full)
        assert run(place) == 2
    error = capsys.readouterr().err.strip()
    assert "No space left on device" in error
    assert error.count("error: ") == 1
    assert not list((place / "out").rglob("*.part"))
    assert run(place) == 0
    assert len(manifest(place)) == 7
    assert 1 <= summary(place)["labelled"] < 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocabulary": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"formats": "[pgn]"}, "'png'"),
        ({"formats": "[]"}, "no format"),
        ({"formats": "[png, png]"}, "twice"),
        ({"format_options": '{"yolo": {}}'}, "format_options"),
        ({"formats": "[coco]", "format_options": '{"coco": {"pre": "part"}}'}, "'per'"),
        ({"formats": "[coco]", "format_options": '{"coco": {"per": 3}}'}, "coco.per is 3"),
        ({"formats": "[yolo]", "format_options": '{"yolo": {"left_out": ["dog"]}}'}, "unknown class in left_out 'dog'"),
        ({"confidence": "margn"}, "'margin'"),
        ({"confidence": "agreement"}, "agrees with itself"),
        ({"confidence": "none", "threshold": 0.3}, "no confidence to compare"),
        ({"model.softmax": "false"}, "raw products have no confidence"),
        ({"temperature": 0}, "temperature of 0"),
        ({"threshold": 1.5}, "0 to 1.01"),
        ({"threshold": '{"dog": 0.2}'}, "unknown class in threshold 'dog'"),
        ({"calibration": "nowhere.json"}, "nowhere.json is no calibration"),
        ({"calibration": "nowhere.json", "temperature": 2}, "one or the other"),
        ({"data.root": "nowhere"}, "nowhere"),
        ({"data.name": "picture"}, "'pictures'"),
        ({"refine.steps": "[parm]"}, "'pamr'"),
        ({"writers": 0}, "0 threads"),
    ],
)
def test_what_the_user_got_wrong_is_one_line(place, changes, said, capsys):
    assert run(place, **changes) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert said in error
    assert "\n" not in error
    assert not (place / "out" / "manifest.jsonl").exists()


def test_words_that_the_backbone_lacks_are_named_before_the_run(place, capsys):
    (place / "words.yaml").write_text("classes: [cat, zebr]\n")
    assert run(place) == 2
    assert "zebra" in capsys.readouterr().err
    assert run(place, vocabulary="null") == 2
    assert "--vocabulary FILE" in capsys.readouterr().err


def test_a_changed_vocabulary_is_named(place, capsys):
    assert run(place) == 0
    (place / "words.yaml").write_text("classes: [cat, grass, sky, {name: water, synonyms: [sand]}]\n")
    assert run(place) == 2
    assert 'vocabulary.water was ["water"], is now ["water", "sand"]' in capsys.readouterr().err


def test_refinement_agreement_temperature_and_calibration(place):
    """Each changes what it should and nothing else."""
    assert run(place, "plain") == 0
    assert run(place, "agreed", confidence="agreement", **{"model.samples": 3}) == 0
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
    fitted |= {"vocabulary": fingerprint_of(words), "figures": {}}
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


def test_other_kinds_of_input(place):
    folder = place / "coco"
    for part in ("a", "b"):
        (folder / "images" / part).mkdir(parents=True)
        picture(3).save(folder / "images" / part / "1.png")
    images = [{"id": i, "file_name": f"{p}/1.png", "height": 40, "width": 56} for i, p in enumerate("ab")]
    categories = [{"id": 7, "name": "sky"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "categories": categories, "annotations": []}
    (folder / "annotations.json").write_text(json.dumps(content))
    kind = {"data.name": "coco-json", "data.root": folder, "vocabulary": "null"}
    assert run(place, "from-coco", **kind) == 0
    assert list(manifest(place, "from-coco")) == ["a/1", "b/1"]
    assert list(summary(place, "from-coco")["classes"]) == ["cat", "sky"]

    dicts = [{"file_name": f"images/{p}/1.png", "height": 40, "width": 56} for p in "ab"]
    (folder / "dataset.json").write_text(json.dumps(dicts))
    assert run(place, "from-dicts", **{"data.name": "sem-seg-dicts", "data.root": folder}) == 0
    assert list(manifest(place, "from-dicts")) == ["a/1", "b/1"]

    (place / "shards").mkdir()
    with webdataset.ShardWriter(str(place / "shards" / "%03d.tar"), maxcount=2, verbose=0) as sink:
        for number in range(3):
            sink.write({"__key__": f"p{number}", "png": np.asarray(picture(number))})
    assert run(place, "from-shards", **{"data.name": "webdataset", "data.root": place / "shards"}) == 0
    assert list(manifest(place, "from-shards")) == ["000/p0", "000/p1", "001/p2"]
    assert (place / "from-shards" / "png" / "masks" / "001" / "p2.png").is_file()

    (place / "in" / "list.txt").write_text("e.png\na/1.png\n")
    assert run(place, "from-list", **{"data.root": place / "in" / "list.txt"}) == 0
    assert list(manifest(place, "from-list")) == ["a/1", "e"]
    assert run(place, "from-folder") == 0
    for key in ("a/1", "e"):
        one, two = (place / out / "png" / "masks" / f"{key}.png" for out in ("from-list", "from-folder"))
        assert np.mean(np.asarray(Image.open(one)) == np.asarray(Image.open(two))) > 0.999


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
        expected = head.segment(backbone, read_image(place / "in" / entry["picture"])[None], seed=picture_seed(0, key))
        written = np.asarray(Image.open(place / "out" / "png" / "masks" / f"{key}.png"))
        assert (written == expected[0].numpy()).mean() > 0.999  # rounding on ties
    with torch.no_grad():
        head.head.layers[2].bias += 1
    head.save_pretrained(place / "head")
    assert run(place, **given) == 2
    (place / "words.yaml").write_text("classes: [cat, dog]\n")
    assert run(place, "other", **given) == 2
