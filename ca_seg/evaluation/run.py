"""Score methods on the splits of a dataset.

             in_distribution     shifted
mini         test run            test run          each one is a Lightning test run
mini-plain   test run            test run
one-class    test run            test run
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytorch_lightning as pl

from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.evaluation.progress import Progress
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.tasks.zero_shot import SaveMask, ZeroShot


@dataclass
class SplitScores:
    """The scores of one method on one split."""

    task: ZeroShot
    images: int  # of the split
    run: int  # how many of them were scored in this run, and not in an earlier one
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
    """Score one method on one split.

    Args:
        trainer: runs the test
        predictor: the method
        data: its `split` is scored
        seed: seed of the noise
        synonyms: further phrases for a class
        template: a sentence to put each phrase into, with {} for the phrase
        refine: changes the class maps of an image before the decision
        calibrated: the maps are probabilities, so that calibration can be measured
        progress: where an interrupted run continues; None: from the start
        save_mask: called with each predicted mask
    """
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
    done_before = len(data.done)
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = callbacks if progress is None else [*callbacks, progress]  # type: ignore[attr-defined]
    try:
        trainer.test(task, datamodule=data, verbose=False)
    except BaseException:
        if progress is not None and trainer.world_size == 1:  # of several, each may be within the exchange of counts
            progress.save(task)
        raise
    finally:
        task.stop()
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        data.done = frozenset()
    if not task.figures:
        raise UserError("no image was scored", fix="leave out the trainer's limit_test_batches")
    if progress is not None:
        progress.save(task)
    task.predictor = None  # it holds a whole backbone
    return SplitScores(task, len(dataset), task.scored - done_before, time.monotonic() - start)
