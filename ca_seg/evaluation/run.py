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
from ca_seg.evaluation.progress import Progress
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.tasks.zero_shot import SaveMask, ZeroShot


@dataclass
class SplitScores:
    """One method on one split, scored."""

    task: ZeroShot
    images: int  # of the split
    run: int  # of them, scored in this run and not in an earlier one
    seconds: float

    @property
    def complete(self) -> bool:
        """Every image was scored."""
        return self.task.scored == self.images


def score(
    trainer: pl.Trainer,
    predictor: Predictor,
    data: SegmentationData,
    *,
    seed: int,
    synonyms: Mapping[str, list[str]] | None = None,
    template: str = "{}",
    refine: Refine | None = None,
    calibrated: bool = True,
    progress: Progress | None = None,
    save_mask: SaveMask | None = None,
) -> SplitScores:
    """One method on one split; with `progress`, from where an earlier run was."""
    dataset = data.dataset(data.split)
    task = ZeroShot(
        predictor,
        dataset.class_list.names,
        synonyms=dict(synonyms or {}),
        template=template,
        refine=refine,
        calibrated=calibrated,
        seed=seed,
        save_mask=save_mask,
    )
    start = time.monotonic()
    data.done = frozenset() if progress is None else frozenset(progress.load(task))
    before, callbacks = len(data.done), trainer.callbacks
    trainer.callbacks = callbacks if progress is None else [*callbacks, progress]
    try:
        trainer.test(task, datamodule=data, verbose=False)
    finally:
        trainer.callbacks, data.done = callbacks, frozenset()
    if progress is not None:
        progress.save(task)
    task.predictor = None  # it holds a whole backbone
    return SplitScores(task, len(dataset), task.scored - before, time.monotonic() - start)
