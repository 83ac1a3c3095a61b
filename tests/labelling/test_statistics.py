"""Statistics of a run against loops over its masks, and reading the folder of a run."""

from __future__ import annotations

import csv
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.label import Label
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.run_folder import SCHEMA
from ca_seg.labelling.run_reader import FORMER_SCHEMA, LabelRun
from ca_seg.labelling.statistics import AREAS, STEPS, LabelStatistics, confidence_level
from tests.labelling.example_run import FINGERPRINT, add_label, write_about
from tests.labelling.random_labels import NAMES, label_of, random_mask

KINDS = ("blocks", "noise", "ignored", "specks", "uniform", "rings")


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Label]]:
    """A run of 18 random labels in two folders; the images are noise."""
    folder = tmp_path_factory.mktemp("run")
    labels = []
    write_about(folder / "run", folder / "images", NAMES, [["x.jpg", "broken"]])
    with Manifest(folder / "run" / "manifest.jsonl", FINGERPRINT) as manifest:
        for number in range(18):
            mask = random_mask(number, 12 + number, 20, len(NAMES), KINDS[number % 6])
            label = label_of(mask, f"{number % 2}/{number:04d}", ".png")
            image = folder / "images" / label.file_name
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), np.uint8)).save(image)
            add_label(folder / "run", folder / "images", label, manifest, NAMES)
            labels.append(label)
    return folder / "run", labels


def test_statistics_against_loops(labelled_run) -> None:
    folder, labels = labelled_run
    run = LabelRun.open(folder)
    statistics = LabelStatistics(run.classes)
    for entry in run.entries():
        statistics.add(entry)
        statistics.add_pixels(run.mask(entry), run.confidence(entry))
    masks = [label.mask for label in labels]
    rows = {row["class"]: row for row in statistics.table()}
    labelled = sum(int((mask != 255).sum()) for mask in masks)
    for index, name in enumerate(NAMES):
        class_masks = [mask == index for mask in masks]
        assert rows[name]["images"] == sum(m.any() for m in class_masks)
        assert rows[name]["pixels"] == sum(m.sum() for m in class_masks)
        assert rows[name]["fraction"] == pytest.approx(sum(m.sum() for m in class_masks) / labelled, abs=1e-6)
        confidence = np.concatenate([label.confidence[m] for label, m in zip(labels, class_masks, strict=True)])
        assert rows[name]["mean_confidence"] == pytest.approx(confidence.mean(), abs=1e-5)
        fractions = [m.mean() for m in class_masks if m.any()]
        edges = [*AREAS[:-1], 1.1]
        assert statistics.areas[index].tolist() == [
            sum(low <= fraction < high for fraction in fractions) for low, high in pairwise(edges)
        ]
        for level in (0, 20, 37, 100):  # the pixels that a threshold ignores, in the rounded map
            below = np.rint(confidence.astype(np.float64) * 255) / 255 < level / 100
            assert statistics.levels[index, :level].sum() == below.sum()
    assert list(rows) == sorted(NAMES, key=lambda name: -rows[name]["pixels"])
    assert statistics.without_label == sum((mask == 255).all() for mask in masks)
    content = json.loads(json.dumps(statistics.as_json(run.skipped())))
    assert content["pixels"] == sum(mask.size for mask in masks)
    assert content["skipped"] == [["x.jpg", "broken"]]
    assert content["histograms"]["cat"]["areas"] == statistics.areas[1].tolist()
    assert [row["class"] for row in csv.DictReader(statistics.as_csv().splitlines())] == list(rows)


def test_levels_and_confidences_compare_alike() -> None:
    gray = np.arange(256, dtype=np.uint8)
    for level in range(STEPS):
        expected = [value * 100 < level * 255 for value in range(256)]  # value / 255 < level / 100, in whole numbers
        assert (confidence_level(gray) < level).tolist() == expected


def test_a_run_that_has_not_ended_or_lacks_files(labelled_run, tmp_path: Path) -> None:
    folder = shutil.copytree(labelled_run[0], tmp_path / "run")
    (folder / "summary.json").unlink()
    run = LabelRun.open(folder)
    assert run.skipped() is None
    assert run.images == labelled_run[0].parent / "images"
    assert LabelRun.open(folder, tmp_path).images == tmp_path
    entry = next(run.entries())
    Image.new("L", (3, 4)).save(run.confidence_path(entry))
    with pytest.raises(BadMask, match=r"3 x 4.*20 x 12"):
        run.confidence(entry)
    run.mask_path(entry).write_bytes(b"broken")
    with pytest.raises(BadMask, match=re.escape(str(run.mask_path(entry)))):
        run.mask(entry)
    Image.new("L", (20, 12), 77).save(run.mask_path(entry))
    with pytest.raises(BadMask, match="77"):
        run.mask(entry)
    (folder / ".manifests").mkdir()
    (folder / "manifest.jsonl").rename(folder / ".manifests" / "rank-0.jsonl")
    assert [e.key for e in run.entries()] == [e.key for e in LabelRun.open(labelled_run[0]).entries()]
    (folder / ".manifests" / "rank-0.jsonl").unlink()
    with pytest.raises(UserError, match=str(folder)):
        next(run.entries())
    (folder / "summary.json").write_text('{"skipped": [["a", "b"]]}')
    with pytest.raises(UserError, match="summary"):
        run.skipped()
    (folder / "run.json").write_text(json.dumps({"schema": SCHEMA, "classes": ["cat"], "images": {}}))
    with pytest.raises(UserError, match="fingerprint"):
        LabelRun.open(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json"):
        LabelRun.open(folder)


def test_nothing_outside_the_folder_is_read(labelled_run) -> None:
    run = LabelRun.open(labelled_run[0])
    outside = Entry("../../secret", "/etc/passwd", 1, 1, "", (), {}, {}, 0)
    for path in (run.mask_path, run.confidence_path, run.image_path):
        with pytest.raises(UserError, match=r"secret|passwd"):
            path(outside)
    with pytest.raises(UserError, match="horse"):
        LabelStatistics(NAMES).add(Entry("a", "a.jpg", 1, 1, "", (), {"horse": 1}, {}, 0))


def test_a_run_of_the_former_schema_is_read(labelled_run, tmp_path: Path) -> None:
    """Before schema 2, images were called pictures, and the confidence certainty."""
    folder = shutil.copytree(labelled_run[0], tmp_path / "run")
    about = json.loads((folder / "run.json").read_text())
    about["pictures"], about["settings"]["certainty"] = about.pop("images"), about["settings"].pop("confidence")
    (folder / "run.json").write_text(json.dumps(about | {"schema": FORMER_SCHEMA}))
    manifest = (folder / "manifest.jsonl").read_text().replace('"image"', '"picture"')
    (folder / "manifest.jsonl").write_text(manifest.replace('"manifest": 2', '"manifest": 1'))
    (folder / "summary.json").write_text('{"skipped": [{"picture": "x.jpg", "reason": "broken"}]}')
    former, present = LabelRun.open(folder), LabelRun.open(labelled_run[0])
    assert list(former.entries()) == list(present.entries())
    assert former.skipped() == present.skipped()
    assert (former.images, former.classes) == (present.images, present.classes)
    assert former.settings["confidence"] == present.settings["confidence"]
    (folder / "run.json").write_text(json.dumps(about | {"schema": "ca_seg.labels/9"}))
    with pytest.raises(UserError, match="labels/9"):
        LabelRun.open(folder)
