"""Readers of configs and of what the commands write: runs, manifests, results, calibrations, caches."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ca_seg.bounded_files import read_json
from ca_seg.cli.parser import JobParser
from ca_seg.confidence.calibration import read_calibration
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import BadMask, UserError
from ca_seg.evaluation.progress import Progress
from ca_seg.features.cache import FeatureCache
from ca_seg.features.fill import fill
from ca_seg.jobs.ablate import AblationSettings
from ca_seg.jobs.compare import compare
from ca_seg.jobs.evaluate import EvaluationSettings
from ca_seg.jobs.label import LabelSettings
from ca_seg.jobs.review import review
from ca_seg.jobs.train_head import TrainingSettings
from ca_seg.labelling.manifest import Manifest, merge_manifests, read_entries
from ca_seg.labelling.registry import FORMATS, formats_named
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.metrics.confusion import ConfusionMatrix
from ca_seg.resources import resource_path
from tests.features.small_source import ConvSource, folder_of
from tests.fuzz.of_data import PIXELS, write_folder
from tests.fuzz.reader import Reader

SETTINGS = {  # of the commands that take configs, and a config that ships for each
    "eval": (EvaluationSettings, "zero_shot/mini_scenes.yaml"),
    "train": (TrainingSettings, "heads/mini_scenes_segformer.yaml"),
    "label": (LabelSettings, "pseudo_label/mini_scenes.yaml"),
    "ablate": (AblationSettings, "ablation/mini_scenes.yaml"),
}
MODEL = {"backbone": "mini", "layers": [1, 2], "noise_samples": 2}
LABEL_SETTINGS = {"model": MODEL, "confidence": {"measure": "margin", "temperature": 1.0, "threshold": None}}


@cache
def parser(command: str) -> JobParser:
    return JobParser(f"ca-seg {command}", "", SETTINGS[command][0])


def write_config(folder: Path, *, command: str) -> None:
    """A config that ships, beside the one that it builds on."""
    config = resource_path("configs", *SETTINGS[command][1].split("/"))
    shutil.copytree(config.parent.parent / "base", folder / "base")
    (folder / "configs").mkdir()
    (folder / "configs" / "config.yaml").write_text(config.read_text() + "\nseed: 3\n")


def read_config(folder: Path, *, command: str) -> None:
    settings = parser(command).parse(["--config-file", str(folder / "configs" / "config.yaml")])
    assert type(settings.seed) is int


def write_run(folder: Path) -> None:
    write_folder(folder)
    about = {
        "schema": "ca_seg.labels/2",
        "classes": ["cat", "grass"],
        "phrases": [["cat"], ["grass"]],
        "images": {"name": "images", "folder": "images"},
    }
    run = RunFolder(folder / "run", LABEL_SETTINGS)
    run.begin(about).release()
    (folder / "run" / ".lock").unlink(missing_ok=True)
    (folder / "run" / "png" / "masks").mkdir(parents=True)
    (folder / "run" / "confidence").mkdir()
    lines = [{"manifest": 2, "fingerprint": run.fingerprint}]
    for number in range(2):
        mask = np.arange(54, dtype=np.uint8).reshape(6, 9) % 2
        Image.fromarray(mask).save(folder / "run" / "png" / "masks" / f"p{number}.png")
        Image.fromarray(PIXELS[..., 0]).save(folder / "run" / "confidence" / f"p{number}.png")
        outputs, sha256 = [f"png/masks/p{number}.png"], hashlib.sha256(b"").hexdigest()
        lines.append(
            {
                "key": f"p{number}",
                "image": f"p{number}.png",
                "height": 6,
                "width": 9,
                "sha256": sha256,
                "outputs": outputs,
            }
            | {
                "area": {"cat": 27, "grass": 27},
                "confidence": {"cat": 0.5, "grass": 0.25},
                "seconds": 0.1,
                "presence": 0.5,
            }
        )
    (folder / "run" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    skipped = [{"image": "b.jpg", "reason": "it is not an image"}]
    (folder / "run" / "summary.json").write_text(json.dumps({"skipped": skipped, "images": 2}))


def read_run(folder: Path) -> None:
    run = LabelRun.open(folder / "run")
    problem = None
    for entry in run.entries():
        assert all(type(count) is int and count >= 0 for count in entry.area.values()), entry.area
        assert all(0 <= value <= 1 for value in entry.confidence.values()), entry.confidence
        assert type(entry.height) is int
        assert entry.height > 0
        assert type(entry.width) is int
        assert entry.width > 0
        assert entry.presence is None or 0 <= entry.presence <= 1
        try:
            run.mask(entry), run.confidence(entry), run.image_path(entry)
        except BadMask as error:
            problem = error
    run.skipped()
    if problem is not None:
        raise problem


def review_run(folder: Path) -> None:
    results = review(folder / "run", by="confidence")
    assert results.page.stat().st_size == results.size


def continue_run(folder: Path) -> None:
    """The beginning of a run that continues."""
    (folder / "run" / ".manifests").mkdir(exist_ok=True)
    if (folder / "run" / "manifest.jsonl").is_file():
        shutil.copyfile(folder / "run" / "manifest.jsonl", folder / "run" / ".manifests" / "rank-0.jsonl")
    run = RunFolder(folder / "run", LABEL_SETTINGS)
    lock = run.begin({})
    try:
        for key, checksum in run.labelled().items():
            assert isinstance(key, str)
            assert isinstance(checksum, str)
        run.finish()
    finally:
        lock.release()


def write_manifest(folder: Path) -> None:
    write_run(folder)
    (folder / "run" / "manifest.jsonl").rename(folder / "a.jsonl")
    for name in ("run", "images", "masks"):
        shutil.rmtree(folder / name)
    header, first, second = (folder / "a.jsonl").read_text().splitlines(keepends=True)
    (folder / "a.jsonl").write_text(header + first)
    (folder / "b.jsonl").write_text(header + second)


def merge(folder: Path) -> None:
    try:
        header = json.loads((folder / "b.jsonl").read_bytes().splitlines()[0])
        fingerprint = str(header["fingerprint"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # damaged: any fingerprint will do
        fingerprint = ""
    with Manifest(folder / "a.jsonl", fingerprint) as manifest:
        assert all(isinstance(key, str) for key in manifest.keys)
    count = merge_manifests([folder / "a.jsonl", folder / "b.jsonl"], folder / "c.jsonl", fingerprint)
    assert count == len(list(read_entries(folder / "c.jsonl", fingerprint)))


def write_results(folder: Path) -> None:
    """Two results.json, with what is read of them."""
    for name, shift in (("a", 0.0), ("b", 0.1)):
        images = {f"p{n}": 0.1 * n + shift for n in range(4)}
        content = {
            "schema": "ca_seg.results/3",
            "method": name,
            "dataset": {"name": "scenes", "split": "val", "classes": 3},
            "images": {"val": {"oracle-presence": images, "full-vocabulary": images | {"p3": None}}},
            "splits": {"val": {protocol: {"miou": 0.5} for protocol in ("oracle-presence", "full-vocabulary")}},
        }
        (folder / f"{name}.json").write_text(json.dumps(content))


def compare_results(folder: Path) -> None:
    for row in compare(folder / "a.json", folder / "b.json").rows:
        for value in (row.first, row.second):
            assert math.isnan(value) or 0 <= value <= 1
        assert math.isnan(row.difference) or -1 <= row.difference <= 1, row.difference


def write_calibration_file(folder: Path) -> None:
    content = {
        "schema": "ca_seg.calibration/1", "temperature": 0.8, "measure": "margin",
        "thresholds": {"cat": 0.38, "cow": 1.01}, "backbone": "mini", "vocabulary": "9f", "figures": {"precision": 0.9},
    }  # fmt: skip
    (folder / "calibration.json").write_text(json.dumps(content))


def calibration_of(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration.json")
    confidence = calibration.confidence(np.full((2, 3, 4), 0.5, np.float32))
    assert np.isfinite(confidence).all()
    assert (confidence >= 0).all()
    assert (confidence <= 1).all()
    assert np.isfinite(calibration.threshold(["cat", "cow"])).all()


def read_format_options(folder: Path, *, name: str) -> None:
    try:
        options = read_json(folder / "options.json")
    except (ValueError, OSError) as problem:
        raise UserError("no JSON") from problem
    if not isinstance(options, dict) or not all(isinstance(value, dict) for value in options.values()):
        raise UserError("the command's parser refuses what is no table of tables")
    (chosen,) = formats_named([name], options).values()
    chosen.open(folder / "out", ("cat", "grass"))


def write_format_options(folder: Path, *, name: str) -> None:
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(FORMATS[name]).items()}
    (folder / "options.json").write_text(json.dumps({name: values}))


def write_cache(folder: Path) -> None:
    dataset = FolderDataset(folder_of(folder / "set", [(6, 8), (6, 8), (10, 4)]), None)
    source = ConvSource()
    fill(FeatureCache(folder / "cache", source.identity()), dataset, source, progress=False, batch_size=2, seed=3)
    shutil.rmtree(folder / "set")


def read_cache(folder: Path) -> None:
    cache = FeatureCache(folder / "cache", ConvSource().identity(), read_only=True)
    cache.verify()
    for key in list(cache._shard_of):
        assert cache.read(key).isfinite().all()


class Counts:
    """As much of a ZeroShot task as `Progress` needs."""

    def __init__(self) -> None:
        self.metric = ConfusionMatrix(3)
        self.images: dict = {"full-vocabulary": {"p0": 0.5, "p1": None}}
        self.skipped: list = [("p2.png", "it is not an image")]

    def wait(self) -> None:
        """Everything is scored."""

    def counts(self) -> ConfusionMatrix:
        return self.metric


def write_progress(folder: Path) -> None:
    task = Counts()
    task.metric.update(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    Progress(folder / "progress.safetensors", "9f").save(task)  # type: ignore[arg-type]


def read_progress(folder: Path) -> None:
    task = Counts()
    done = Progress(folder / "progress.safetensors", "9f").load(task)  # type: ignore[arg-type]
    assert all(isinstance(image, str) for image in done)
    assert all(isinstance(path, str) and isinstance(reason, str) for path, reason in task.skipped)
    assert isinstance(task.images["full-vocabulary"], dict)


def write_conversion(folder: Path) -> None:
    (folder / "set").mkdir()
    write_folder(folder / "set")
    read_conversion(folder)


def read_conversion(folder: Path) -> None:
    """Masks that were converted for detectron2."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from ca_seg.adapters.detectron2 import register

    try:
        register("fuzzed", "folder", str(folder / "set"), cache=folder / "cache")
        for entry in DatasetCatalog.get("fuzzed"):
            assert Path(entry["file_name"]).is_file()
            assert Path(entry["sem_seg_file_name"]).is_file()
            assert Image.open(entry["sem_seg_file_name"]).size == (entry["width"], entry["height"])
    finally:
        if "fuzzed" in DatasetCatalog:
            DatasetCatalog.remove("fuzzed")
            MetadataCatalog.remove("fuzzed")


CONVERSION = Reader("detectron2-cache", write_conversion, read_conversion, ("dataset.json",), writes=True)
READERS = [
    *([CONVERSION] if find_spec("detectron2") else []),
    *(
        Reader(f"config-{name}", partial(write_config, command=name), partial(read_config, command=name))
        for name in SETTINGS
    ),
    Reader("run", write_run, read_run, ("run.json", "manifest.jsonl", "summary.json", "p0.png")),
    Reader("review", write_run, review_run, ("run.json", "manifest.jsonl", "summary.json", "p0.png"), writes=True),
    Reader("continued-run", write_run, continue_run, ("run.json", "manifest.jsonl"), writes=True),
    Reader("manifest", write_manifest, merge, writes=True),
    Reader("results", write_results, compare_results),
    Reader("calibration", write_calibration_file, calibration_of),
    *(
        Reader(
            f"format-{name}",
            partial(write_format_options, name=name),
            partial(read_format_options, name=name),
            writes=True,
            share=0.4,
        )
        for name in FORMATS
    ),
    Reader("feature-cache", write_cache, read_cache),
    Reader("progress", write_progress, read_progress),
]
