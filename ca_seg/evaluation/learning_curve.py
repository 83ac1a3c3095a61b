"""The learning curve of a head as a picture, from Lightning's CSV log."""

from __future__ import annotations

import csv
from pathlib import Path

from ca_seg.visual.plots import lines_plot
from ca_seg.written import written

SHOWN = {"train/loss": "loss", "val/miou": "val mIoU", "val/pixel_accuracy": "val pixel accuracy"}


def write_learning_curve(log: Path, target: Path) -> None:
    """Loss, mIoU and pixel accuracy against steps, each where `log` has it."""
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = {
        label: [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        for name, label in SHOWN.items()
    }
    picture = lines_plot("", "step", "", {label: points for label, points in lines.items() if points})
    with written(target) as part:
        picture.save(part, format="PNG")
