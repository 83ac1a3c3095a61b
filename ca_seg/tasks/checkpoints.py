"""The checkpoints of a training: the last complete epoch and the best validation.

FOLDER/last.ckpt    after each complete epoch: all that the next epoch starts from
FOLDER/best.ckpt    after each validation that is better than all before

Lightning's ModelCheckpoint writes its `last` only when the monitored figure is among the best, and forgets the best
score when the folder was moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.trainer.states import TrainerFn

from ca_seg.metrics.gather import gather_objects
from ca_seg.tasks.probe import Probe

RECORD = "ca_seg"  # the part of a checkpoint that says what was trained


class Checkpoints(Checkpoint):
    """Writes last.ckpt and best.ckpt, and restores the random numbers of a resumed training.

    Args:
        folder: of the checkpoints
        record: what is trained, as plain values; it is kept in each checkpoint
    """

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.last, self.best, self.record = folder / "last.ckpt", folder / "best.ckpt", dict(record)
        self.best_score: float | None = None
        self.epochs = 0  # complete ones
        self._random: list[dict[str, torch.Tensor]] = []  # of each process

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if len(self._random) == trainer.world_size:
            _set_random_state(self._random[trainer.global_rank], module.device)
        if getattr(trainer.fit_loop, "restarted_on_epoch_end", False):
            _begin_epoch(trainer.fit_loop)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if batches >= trainer.num_training_batches:  # else max_steps or max_time ended training within the epoch
            self.epochs = trainer.current_epoch + 1
            trainer.save_checkpoint(self.last, weights_only=False)

    def on_validation_end(self, trainer: pl.Trainer, module: Probe) -> None:  # type: ignore[override]
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or module.figures is None:
            return
        score = module.figures["miou"]
        if self.best_score is None or score > self.best_score:
            self.best_score = score
            trainer.save_checkpoint(self.best, weights_only=False)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[RECORD] = self.record

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "epochs": self.epochs, "random": gather_objects(_random_state())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.epochs = state_dict["best_score"], state_dict["epochs"]
        self._random = state_dict["random"]


class Patience(EarlyStopping):
    """Early stopping whose patience is that of the present settings, also in a resumed training."""

    def __init__(self, validations: int) -> None:
        super().__init__("val/miou", mode="max", patience=validations)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience


def _begin_epoch(loop: Any) -> None:
    """Where max_steps is given, Lightning resumes with an epoch without batches, and counts it: begin the next one."""
    loop.epoch_loop.max_steps, max_steps = -1, loop.epoch_loop.max_steps  # else `restarting` stays True
    loop.restarting = False
    loop.epoch_loop.max_steps = max_steps
    loop.reset_restart_stage()
    loop.epoch_loop.reset_restart_stage()
    loop.epoch_progress.increment_completed()


def _random_state() -> dict[str, torch.Tensor]:
    """Of torch, from which dropout draws."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})


def _set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
