"""Settings of a training that cannot be used: noticed before anything is loaded or written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import DataWarning, OutOfRange, UserError
from ca_seg.evaluation.expectations import check_pairs
from ca_seg.evaluation.learning_curve import training_logs
from ca_seg.jobs.arguments import check_folder

if TYPE_CHECKING:
    from ca_seg.jobs.train_head import TrainingSettings

# options of the Trainer of which Lightning takes values that train nothing, or ignores them: the lowest sound one
LOWEST = {"max_epochs": 1, "max_steps": 1, "accumulate_grad_batches": 1, "gradient_clip_val": 0}
ENDLESS = ("max_epochs", "max_steps")  # -1: no limit


def check_training(settings: TrainingSettings, folder: Path | None, *, trial: bool) -> None:
    """Raises UserError.

    Args:
        settings: of the training
        folder: to which it writes; None: nothing is written
        trial: it is one of Lightning's fast_dev_run
    """
    for part in (settings.model, settings.data, settings.checkpoint):
        part.check()
    if settings.data.augment == "features" and "pixels" in settings.model.parts:
        raise UserError(
            "the part 'pixels' of features cannot be flipped or scaled", fix="leave data.augment=features out"
        )
    check_pairs(settings.expect)
    check_folder(folder)
    if trial and settings.resume:
        raise UserError("trainer.fast_dev_run keeps nothing that resume could continue", fix="leave one out")
    if folder is None and not trial and (settings.resume or settings.checkpoint.keep == "best"):
        raise UserError("resume and checkpoint.keep=best need checkpoints, and there is no folder", fix="give out")
    begun = folder is not None and (training_logs(folder) or (folder / "last.ckpt").exists())
    if folder is not None and settings.resume and not begun and not (folder / "results.json").exists():
        raise UserError(f"there is no {folder / 'last.ckpt'} to resume from", fix="train without resume first")
    _check_trainer(settings.trainer, trial=trial)
    if settings.trainer.get("limit_val_batches") == 0:
        for option, given in (
            ("checkpoint.keep=best", settings.checkpoint.keep == "best"),
            ("checkpoint.patience", settings.checkpoint.patience is not None),
            ("expect", bool(settings.expect)),
        ):
            if given:
                raise UserError(
                    f"{option} needs validations, and trainer.limit_val_batches is 0", fix="leave one of them out"
                )


def _check_trainer(options: Mapping[str, Any], *, trial: bool) -> None:
    for name, lowest in LOWEST.items():
        value, endless = options.get(name), name in ENDLESS
        if isinstance(value, int | float) and value < lowest and not (endless and value == -1):
            raise OutOfRange(f"trainer.{name} is {value}", allowed=f"{lowest} or more" + (", or -1" if endless else ""))
    if options.get("limit_train_batches") == 0:
        raise OutOfRange("trainer.limit_train_batches is 0", allowed="more than 0")
    if options.get("max_epochs") == -1 and options.get("max_steps", -1) == -1 and not trial:
        fix = "give trainer.max_epochs or trainer.max_steps; trainer.max_time may end training before"
        raise UserError("training has no end, and the learning rate falls to zero at its end", fix=fix)


def warn_of_shared_images(data: SegmentationData) -> None:
    """A `DataWarning` where images are both trained and scored on; parts of two datasets are not compared."""
    if data.val_name is not None or data.val_root is not None or data.val_split is None:
        return
    shared = len(set(data.training_set().image_ids) & set(data.validation_set().image_ids))
    if shared:
        scored = len(data.validation_set())
        text = f"{shared} of the {scored} images of {data.val_split!r} are in {data.train_split!r} too"
        warnings.warn(f"{text}; the scores do not say how good the head is on new images", DataWarning, stacklevel=2)


def check_time(trainer: pl.Trainer) -> None:
    """Raises OutOfRange for a max_time in which nothing can be trained."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and callback.time_remaining() == 0:
            raise OutOfRange("trainer.max_time is 0", allowed="more than 0, as days:hours:minutes:seconds")
