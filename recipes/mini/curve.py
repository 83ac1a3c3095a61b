"""Plot the curve of a training run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOSSES = ("flow", "candidate", "presence", "labels")
COUNTS = ("step", "images", "seconds")
SCORES = {
    "oracle_miou": "mIoU, classes present given",
    "oracle_accuracy": "accuracy, classes present given",
    "full_miou": "mIoU, all words",
}


def join_curves(before: Path, after: Path, target: Path) -> dict[str, str]:
    """Write the curve of a run that went on from the weights of another run; its last row is returned.

    Args:
        before, after: curve.csv of the first and of the second run; steps, images and seconds of both start at 0
        target: the curve of both, with the columns of both
    """
    (earlier, later) = (list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in (before, after))
    for row in later:
        row |= {name: str(int(row[name]) + int(earlier[-1][name])) for name in COUNTS}
    rows = earlier + later
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return rows[-1]


def draw_curve(
    source: Path, target: Path, *, count: str = "images", losses: Sequence[str] = LOSSES, where: str = "fresh scenes"
) -> None:
    """Losses (left) and monitored scores (right, if the run has any) against images seen.

    Args:
        source: curve.csv of a run
        target: the image file to write
        count: the column with the number of images seen
        losses: the columns of losses
        where: on what the scores were measured
    """
    with source.open() as file:
        rows = list(csv.DictReader(file))
    panels: list[tuple[str, int | None, dict, dict]] = [
        ("loss", None, {"linewidth": 1}, _lines(rows, count, {name: name for name in losses}))
    ]
    scores = _lines(rows, count, SCORES)
    if scores:
        panels.append((f"score on {where}", 1, {"marker": "."}, scores))
    size = (5 * len(panels), 3.6)
    figure, grid = plt.subplots(1, len(panels), figsize=size, constrained_layout=True, squeeze=False)
    for axes, (label, top, style, lines) in zip(grid[0], panels, strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set(xlabel="images seen (thousands)", ylabel=label, ylim=(0, top))
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _lines(
    rows: Sequence[Mapping[str, str]], count: str, columns: Mapping[str, str]
) -> dict[str, list[tuple[float, float]]]:
    """The points of each column that has any, by the column's label: thousands of images seen, and the value."""
    lines = {
        label: [(int(r[count]) / 1000, float(r[column])) for r in rows if r.get(column) not in (None, "", "nan")]
        for column, label in columns.items()
    }
    return {label: points for label, points in lines.items() if points}
