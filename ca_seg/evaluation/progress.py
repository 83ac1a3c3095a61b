"""An evaluation that was interrupted goes on where it was: what is counted so far, in one small file per cell.

    OUT/progress/METHOD-SPLIT-0.safetensors     counts (whole numbers) and the images they are of, every minute
    the same command again                      counts are read back, those images are not run again

The file of other settings is refused; after a whole cell it stays until the results are written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError
from ca_seg.tasks.zero_shot import ZeroShot

EVERY = 60.0  # seconds


class Progress(pl.Callback):
    """Saves a ZeroShot task's counts while it is tested; `settings` names what the counts depend on."""

    def __init__(self, file: Path, settings: str, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic):
        self.file, self.settings, self.every, self.clock = file, settings, every, clock
        self._last = clock()

    def load(self, task: ZeroShot) -> set[str]:
        """The stems that are done, their counts put into `task`. Raises UserError for another run's file."""
        if not self.file.exists():
            return set()
        try:
            with safe_open(self.file, framework="pt") as held:
                about = held.metadata() or {}
                state = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        except SafetensorError as problem:
            raise UserError(f"{self.file} cannot be read ({problem})", fix="delete it, and start anew") from problem
        if about.get("settings") != self.settings:
            raise UserError(
                f"{self.file} is of an evaluation with other settings",
                fix="give another --out, or delete the folder progress in it",
            )
        _keep_states(task)
        task.scores.load_state_dict(state)
        task.images = json.loads(about["images"])
        task.skipped = [(path, reason) for path, reason in json.loads(about["skipped"])]
        return set(json.loads(about["done"]))

    def on_test_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.clock() - self._last >= self.every:
            self.save(task)
            self._last = self.clock()

    def save(self, task: ZeroShot) -> None:
        _keep_states(task)
        done = list(task.images["full-vocabulary"])
        about = {
            "settings": self.settings,
            "images": json.dumps(task.images),
            "skipped": json.dumps(task.skipped),
            "done": json.dumps(done),
        }
        with atomic_write(self.file) as part:
            save_file({k: v.contiguous().cpu() for k, v in task.scores.state_dict().items()}, part, metadata=about)


def _keep_states(task: ZeroShot) -> None:
    for metric in task.metrics():
        metric.persistent(True)
