"""Continuing an interrupted evaluation: the counts so far are in one small file per method and split.

    OUT/progress/METHOD-SPLIT-0.safetensors     written every minute, and when the run is stopped: counts (integers)
                                                and the images they are of
    the same command again                      reads the counts back and passes over those images

A file that was written with other settings, or of images that have changed since, is refused. Images that were skipped
are tried again, for they may have been mended. The files are removed when the results are written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torchmetrics import Metric

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import check_regular, parse_json
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.tasks.zero_shot import ZeroShot

SECONDS = 60.0  # from save to save


class Progress(pl.Callback):
    """Saves the counts of a ZeroShot task while it runs.

    Args:
        file: where they are saved
        settings: a fingerprint of all that the counts depend on beside the images
        dataset: the images; None: whether they have changed is not looked at
        seconds: from save to save
        clock: gives the time in seconds
    """

    def __init__(
        self,
        file: Path,
        settings: str,
        dataset: SegmentationDataset | None = None,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.file, self.settings, self.dataset, self.seconds, self.clock = file, settings, dataset, seconds, clock
        self._last = clock()

    def load(self, task: ZeroShot) -> set[str]:
        """Read the counts back into `task`; the ids of their images. Raises UserError for another run's file."""
        if not self.file.exists():
            return set()
        try:
            check_regular(self.file)
            with safe_open(self.file, framework="pt") as file:
                about = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as problem:
            raise UserError(f"{self.file} cannot be read ({problem})", fix="delete it, and start again") from problem
        if about.get("settings") != self.settings:
            raise UserError(
                f"{self.file} is of an evaluation with other settings",
                fix="give another folder, or delete the folder progress in it",
            )
        _make_persistent(task)
        try:
            images, done = (parse_json(about[part]) for part in ("images", "done"))
            if set(images["full-vocabulary"]) != set(done):
                raise ValueError("its images are not those that are done")
            expected = task.counts().state_dict()
            if any(
                state[name].shape != value.shape or state[name].dtype != value.dtype for name, value in expected.items()
            ):
                raise ValueError("its counts are of other classes")
            task.counts().load_state_dict(state)
        except (LookupError, TypeError, ValueError, RuntimeError) as problem:
            raise UserError(f"{self.file} is damaged ({problem!r:.200})", fix="delete it, and start again") from problem
        if about.get("dataset") != self._dataset_of(done):
            raise UserError(
                f"images that {self.file} counts have changed", fix="give another folder, or delete the folder progress"
            )
        task.images = images
        return set(done)

    def on_test_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.clock() - self._last >= self.seconds:
            self.save(task)
            self._last = self.clock()

    def save(self, task: ZeroShot) -> None:
        """Write the counts of the images that are scored under both protocols."""
        task.wait()
        _make_persistent(task)
        done = list(task.images["full-vocabulary"])
        about = {
            "settings": self.settings,
            "images": json.dumps(task.images),
            "done": json.dumps(done),
        }
        if self.dataset is not None:
            about["dataset"] = str(self._dataset_of(done))
        with atomic_write(self.file) as part:
            save_file({k: v.contiguous().cpu() for k, v in task.counts().state_dict().items()}, part, metadata=about)

    def _dataset_of(self, done: Sequence[str]) -> str | None:
        """The fingerprint of the images that are done, and of the classes; None: it is not looked at."""
        if self.dataset is None:
            return None
        ids = set(done)
        return self.dataset.only([i for i, name in enumerate(self.dataset.image_ids) if name in ids]).fingerprint()


def _make_persistent(task: ZeroShot) -> None:
    """Put the states of all metrics into the state dict."""
    for module in task.counts().modules():
        if isinstance(module, Metric):
            module.persistent(True)
