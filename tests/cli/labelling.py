"""`ca-seg label` on folders of small images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.cli.main import main

ROOT = Path(__file__).parents[2]
NAMES = ("cat", "grass", "sky", "water")
SIZES = ((40, 56), (48, 48), (30, 64))


def image(number, size=None):
    height, width = size or SIZES[number % len(SIZES)]
    blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


def arguments(workdir, out="out", **changes):
    settings = {
        "data.root": workdir / "in",
        "vocabulary": workdir / "words.yaml",
        "model.backbone": "mini",
        "model.resolution": 32,
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
        "out": workdir / out,
    }
    return [str(word) for key, value in (settings | changes).items() for word in (f"--{key}", value)]


def run(workdir, out="out", **changes):
    """The exit status of `ca-seg label` on WORKDIR/in."""
    return main(["label", *arguments(workdir, out, **changes)])


def summary(workdir, out="out"):
    return json.loads((workdir / out / "summary.json").read_text())


def manifest(workdir, out="out"):
    lines = (workdir / out / "manifest.jsonl").read_text().splitlines()[1:]
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def tree(out):
    """The content of each file of a run by path, without the files and values that depend on the time."""
    files = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.startswith(".manifests") or name in ("run.json", "summary.json", ".lock"):
            continue
        files[name] = path.read_bytes()
    lines = [json.loads(line) for line in files["manifest.jsonl"].splitlines()]
    files["manifest.jsonl"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return files
