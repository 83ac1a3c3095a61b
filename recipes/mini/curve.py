"""Plot the curve of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOSSES = ("flow", "candidate", "presence")
SCORES = {
    "oracle_miou": "mIoU, classes present given",
    "oracle_accuracy": "accuracy, classes present given",
    "full_miou": "mIoU, all words",
}


def draw_curve(source: Path, target: Path) -> None:
    """Losses (left) and monitored scores (right) against images seen."""
    with source.open() as file:
        rows = list(csv.DictReader(file))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name in LOSSES:
        points = [(int(r["images"]) / 1000, float(r[name])) for r in rows if r[name] not in ("", "nan")]
        if points:
            left.plot(*zip(*points, strict=True), label=name, linewidth=1)
    for name, label in SCORES.items():
        points = [(int(r["images"]) / 1000, float(r[name])) for r in rows if r[name]]
        if points:
            right.plot(*zip(*points, strict=True), marker=".", label=label)
    left.set(xlabel="images seen (thousands)", ylabel="loss", ylim=(0, None))
    right.set(xlabel="images seen (thousands)", ylabel="score on fresh scenes", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)
