"""Score methods on the splits of a dataset.

             in_distribution     shifted
mini         test run            test run          one Lightning test run per cell
mini-plain   test run            test run
one-class    test run            test run
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytorch_lightning as pl

from ca_seg.data.datamodule import SegmentationData
from ca_seg.tasks.zero_shot import Keep, Record, ZeroShot


@dataclass
class Cell:
    """One method on one split, scored."""

    task: ZeroShot
    pictures: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Every picture was scored."""
        return self.task.scored == self.pictures


def score(
    trainer: pl.Trainer,
    record: Record,
    data: SegmentationData,
    *,
    seed: int,
    synonyms: Mapping[str, list[str]] | None = None,
    template: str = "{}",
    keep: Keep | None = None,
) -> Cell:
    """One method on one split."""
    dataset = data.dataset(data.split)
    task = ZeroShot(
        record,
        dataset.class_list.names,
        synonyms=dict(synonyms or {}),
        template=template,
        seed=seed,
        keep=keep,
    )
    start = time.monotonic()
    trainer.test(task, datamodule=data, verbose=False)
    task.record = None  # it holds a whole backbone
    return Cell(task, len(dataset), time.monotonic() - start)
