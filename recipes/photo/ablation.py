"""What each part of the training gives: `python -m recipes.photo.ablation --data msrc=DIR:dev coco=DIR --out OUT`.

Short trainings of the same length, each without one part, and one that never asks or teaches some words. Each is then
scored on the same images as any backbone. A run that was stopped goes on where it was.

    OUT/ablation.json      the settings that all rows share, and the figures of each row that is done
    OUT/ROW/last.pt        a row's training

    all             every part
    without words   no step that knows only the words of a picture
    ...
    width           half as wide
    held out        without HELD_OUT: how well is a word found that was never taught, beside the words that were?
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import ca_seg
from ca_seg.bounded_files import read_json
from ca_seg.errors import UserError
from ca_seg.jobs.evaluate import EvaluationSettings
from ca_seg.json_file import write_json
from ca_seg.tasks.zero_shot import PROTOCOLS
from recipes.command import run
from recipes.photo.batches import PARTS
from recipes.photo.fetch import CACHE
from recipes.photo.model import fresh_transformer
from recipes.photo.train import OPTIMIZERS

HELD_OUT = (
    "cow", "sheep", "bicycle", "boat", "chair", "flower", "bus", "pizza", "bed", "elephant", "umbrella", "surfboard",
)  # fmt: skip
TITLES = {
    "all": "all parts",
    "words": "without the words of pictures",
    "classes": "without the classifier",
    "masks": "without segmenters and detectors",
    "quilts": "without quilts",
    "cells": "without cells finer than tokens",
    "weights": "without weights of small and rare words",
    "width": "half as wide (128 channels)",
    "held-out": f"without {len(HELD_OUT)} words",
}
OPTIONS = {
    "all": [],
    **{part: ["--without", part] for part in PARTS},
    "width": ["--heads", "2"],
    "held-out": ["--held-out", *HELD_OUT],
}


def train(row: str, out: Path, *, cache: Path, pictures: int, optimizer: str, processes: int) -> Path:
    """The last checkpoint of one row's training, which goes on where it was stopped."""
    options = ["--name", "photo", "--out", str(out), "--cache", str(cache), "--pictures", str(pictures)]
    options += ["--optimizer", optimizer, *OPTIONS[row]]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, *launch, "recipes.photo.train", "--threads", "1", "--save-every", "100", *options]
    last = out / "last.pt"
    if not last.exists() or torch.load(last, weights_only=True)["progress"]["pictures"] < pictures:
        subprocess.run(command, check=True)
    return last


def dataset(named: str, limit: int | None) -> tuple[str, ca_seg.EvaluationData]:
    """The name and the images of "NAME=DIR:SPLIT". Without ":SPLIT" they are all of the folder."""
    name, _, place = named.partition("=")
    root, _, split = place.partition(":")
    return name, ca_seg.EvaluationData(root=root, split=split or None, limit=limit)


def scores(last: Path, data: ca_seg.EvaluationData) -> dict[str, Any]:
    """mIoU by protocol of a training's averaged weights, and the IoU of each held-out word that is in the images."""
    average = torch.load(last, weights_only=True)["average"]
    transformer = fresh_transformer(seed=0, heads=len(average["x_embedder.bias"]) // 64)
    transformer.load_state_dict(average)
    backbone = ca_seg.load_backbone("photo", transformer=transformer.eval())
    results = ca_seg.evaluate(backbone, data, EvaluationSettings(report=False)).content
    figures: dict[str, Any] = {protocol: 100 * results["metrics"][protocol]["miou"] for protocol in PROTOCOLS}
    by_class = results["per_class"]
    shown = [word for word in HELD_OUT if not isnan(by_class["oracle-presence"].get(word, nan))]
    for protocol in PROTOCOLS:
        figures[f"{protocol} of held-out words"] = {word: 100 * by_class[protocol][word] for word in shown}
    return figures


def table(rows: Mapping[str, Mapping[str, Any]], sets: list[str]) -> str:
    """The table of the docs: mIoU in percent, oracle / full, over all classes and over the held-out words."""
    head = " | ".join([*sets, *(f"{name}, the held-out words" for name in sets)])
    lines = [f"| | {head} |", "|" + "---|" * (1 + 2 * len(sets))]
    for row, by_set in rows.items():
        cells = [" / ".join(f"{by_set[name][p]:.1f}" for p in PROTOCOLS) for name in sets]
        if row in ("all", "held-out"):
            words = [[by_set[name][f"{p} of held-out words"] for p in PROTOCOLS] for name in sets]
            cells += [" / ".join(f"{mean(by_word.values()):.1f}" for by_word in both) for both in words]
        else:
            cells += [""] * len(sets)
        lines.append(f"| {TITLES[row]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def saved_rows(file: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The rows in `file`; none if there is no file.

    Raises:
        UserError: if they were measured by other settings, for then their differences would not be those of the parts
    """
    if not file.exists():
        return {}
    content = read_json(file)
    before = content.get("settings", {})
    other = [
        f"{name} {before.get(name)} (now {value})" for name, value in settings.items() if before.get(name) != value
    ]
    if other:
        raise UserError(f"the rows of {file} are of {', '.join(other)}", fix="name another folder by --out")
    return content["rows"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR[:SPLIT]", help="what to score on")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("runs/photo_ablation"))
    parser.add_argument("--rows", nargs="+", choices=tuple(OPTIONS), default=list(OPTIONS))
    parser.add_argument("--pictures", type=int, default=12_000)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default=OPTIMIZERS[0])
    parser.add_argument("--limit", type=int, help="score the first images of each folder only")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    sets = dict(dataset(named, args.limit) for named in args.data)
    settings = {name: vars(args)[name] for name in ("data", "limit", "pictures", "optimizer")}
    file = args.out / "ablation.json"
    rows = saved_rows(file, settings)
    write_json(file, {"settings": settings, "rows": rows})
    for row in args.rows:
        if row not in rows:
            last = train(
                row,
                args.out / row,
                cache=args.cache,
                pictures=args.pictures,
                optimizer=args.optimizer,
                processes=args.processes,
            )
            rows[row] = {name: scores(last, data) for name, data in sets.items()}
            write_json(file, {"settings": settings, "rows": rows})
        print(table({row: rows[row]}, list(sets)), flush=True)
    print(table({row: rows[row] for row in args.rows}, list(sets)))


if __name__ == "__main__":
    run(main)
