"""Shared by the tests of the commands: quick settings, and a folder of a few scenes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ca_seg.resources import resource_path

ROOT = Path(__file__).parents[2]
CPU = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
QUICK = [*CPU, "--data.limit", "3"]


def few_scenes(folder: Path, count: int) -> Path:
    """Copy the first `count` scenes into a dataset folder."""
    source = resource_path("datasets", "scenes")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            shutil.copy(source / part / f"scene_{index:04d}.png", folder / part)
    shutil.copy(source / "classes.json", folder)
    return folder
