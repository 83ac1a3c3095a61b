"""The learning curve of a head as an image, from Lightning's CSV logs: one log for each start of the training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ca_seg.atomic import atomic_write
from ca_seg.visual.plots import lines_plot

CURVES = {"train/loss": "loss", "val/miou": "val mIoU", "val/pixel_accuracy": "val pixel accuracy"}


def training_logs(out: Path) -> list[Path]:
    """The CSV logs in the folder of a training, in the order in which they were written."""
    return sorted(out.glob("log-*/metrics.csv"), key=lambda path: int(path.parent.name.removeprefix("log-")))


def write_learning_curve(logs: Sequence[Path], target: Path) -> None:
    """Plot loss, mIoU and pixel accuracy against steps. A step that is in two logs is taken from the later one."""
    points: dict[str, dict[float, float]] = {label: {} for label in CURVES.values()}
    for log in logs:
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, label in CURVES.items():
                    if row.get(name):
                        points[label][float(row["step"])] = float(row[name])
    image = lines_plot("", "step", "", {label: sorted(curve.items()) for label, curve in points.items() if curve})
    with atomic_write(target) as part:
        image.save(part, format="PNG")
