"""Lightning's Trainer for the training of a head: its callbacks and logs, fitting and scoring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import OutOfRange, UserError
from ca_seg.evaluation.learning_curve import training_logs
from ca_seg.jobs.trainer import new_trainer
from ca_seg.tasks.atomic_checkpoint import AtomicCheckpoint
from ca_seg.tasks.checkpoints import Patience
from ca_seg.tasks.probe import Probe

if TYPE_CHECKING:
    from ca_seg.jobs.train_head import TrainingSettings


def training_trainer(settings: TrainingSettings, folder: Path | None) -> pl.Trainer:
    """A Trainer that logs to the folder; `Checkpoints` are added when it is known what is trained."""
    patience = settings.checkpoint.patience
    callbacks: list[Callback] = [] if patience is None else [Patience(patience)]
    loggers: list[Logger] = []
    if folder is not None:
        callbacks.append(LearningRateMonitor("step"))
        # a resumed run writes a log of its own: Lightning would delete the one that is there
        number = 1 + len(training_logs(folder) if settings.resume else [])
        loggers = [CSVLogger(folder, name="", version=f"log-{number}")]
        if settings.checkpoint.tensorboard:
            loggers.append(TensorBoardLogger(folder, name="", version="tensorboard"))
    return new_trainer(
        settings.trainer,
        use_distributed_sampler=False,  # the data module shares the images among the processes
        enable_checkpointing=False,  # of Lightning; see `Checkpoints`
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpoint()],
    )


def fit(trainer: pl.Trainer, probe: Probe, data: SegmentationData, resumed_from: Path | None) -> None:
    """Train, from the checkpoint `resumed_from` on. Raises UserError."""
    try:
        trainer.fit(probe, data, ckpt_path=resumed_from, weights_only=True)
    except ValueError as problem:
        if isinstance(problem, UserError) or "val_check_interval" not in str(problem):
            raise
        what = f"trainer.val_check_interval is {trainer.val_check_interval}"
        fix = "to count batches over several epochs, set trainer.check_val_every_n_epoch to null"
        allowed = f"1 to {trainer.num_training_batches}, the batches of an epoch"
        raise OutOfRange(what, allowed=allowed, fix=fix) from problem


def figures_of(trainer: pl.Trainer, probe: Probe, data: SegmentationData, weights: Path | None) -> dict[str, float]:
    """The figures of the head that is written: those of the last validation, if nothing was trained or loaded since."""
    if weights is not None or probe.figures is None:
        probe.figures = None
        trainer.validate(probe, data, verbose=False)
    return probe.figures or {}  # none where trainer.limit_val_batches is 0
