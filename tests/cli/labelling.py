"""`ca-seg label` on folders of small images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.cli.guarded import guarded
from ca_seg.cli.label import label

ROOT = Path(__file__).parents[2]
NAMES = ("cat", "grass", "sky", "water")
SIZES = ((40, 56), (48, 48), (30, 64))


def image(number, size=None):
    height, width = size or SIZES[number % len(SIZES)]
    blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


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
