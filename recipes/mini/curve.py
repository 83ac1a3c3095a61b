"""Plot the curve of a training run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
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


def draw_curve(
    source: Path, target: Path, *, count: str = "images", losses: Sequence[str] = LOSSES, where: str = "fresh scenes"
) -> None:
    """Losses (left) and monitored scores (right) against images seen.

    Args:
        source: curve.csv of a run
        target: the image file to write
        count: the column with the number of images seen
        losses: the columns of losses
        where: on what the scores were measured
    """
    with source.open() as file:
        rows = list(csv.DictReader(file))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name in losses:
        points = [(int(r[count]) / 1000, float(r[name])) for r in rows if r[name] not in ("", "nan")]
        if points:
            left.plot(*zip(*points, strict=True), label=name, linewidth=1)
    for name, label in SCORES.items():
        points = [(int(r[count]) / 1000, float(r[name])) for r in rows if r.get(name)]
        if points:
            right.plot(*zip(*points, strict=True), marker=".", label=label)
    left.set(xlabel="images seen (thousands)", ylabel="loss", ylim=(0, None))
    right.set(xlabel="images seen (thousands)", ylabel=f"score on {where}", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)
