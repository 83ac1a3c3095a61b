"""The learning curve of a head as an image, from Lightning's CSV logs: one for each time that the run went on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ca_seg.atomic import atomic_write
from ca_seg.visual.plots import lines_plot

SHOWN = {"train/loss": "loss", "val/miou": "val mIoU", "val/pixel_accuracy": "val pixel accuracy"}


def logs(out: Path) -> list[Path]:
    """The logs of a run, first to last."""
    return sorted(out.glob("log-*/metrics.csv"), key=lambda path: int(path.parent.name.removeprefix("log-")))


def write_learning_curve(logs: Sequence[Path], target: Path) -> None:
    """Loss, mIoU and pixel accuracy against steps. Where a later log goes over an earlier one, the later counts."""
    points: dict[str, dict[float, float]] = {label: {} for label in SHOWN.values()}
    for log in logs:
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, label in SHOWN.items():
                    if row.get(name):
                        points[label][float(row["step"])] = float(row[name])
    image = lines_plot("", "step", "", {label: sorted(own.items()) for label, own in points.items() if own})
    with atomic_write(target) as part:
        image.save(part, format="PNG")
