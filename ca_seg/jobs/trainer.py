"""Lightning's Trainer for a job: its defaults, its errors as one line, and none of its hints."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ca_seg.errors import UserError
from ca_seg.seed_range import check_seed

DEFAULTS: dict[str, Any] = {"accelerator": "auto", "devices": 1}
PATIENCE = 3.0  # seconds that the other processes may take to end
INFERENCE = {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}  # we share images


class ProgramSignals(pl.Callback):
    """Leaves SIGTERM to the program: with Lightning's handler, only training ends, and nothing else of a job.

    When a job ends by an exception, the processes that Lightning started end too.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the handler that the program had before Lightning set its own."""
        alone = trainer.world_size == 1  # else Lightning's ends the other processes of a program without a handler
        if (alone or callable(self.handler)) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)

    on_sanity_check_start = on_train_start = on_validation_start = on_test_start = on_predict_start = restore

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        processes = getattr(trainer.strategy.launcher, "procs", [])
        started = [process for process in processes if isinstance(process, subprocess.Popen)]
        del processes[:]  # Lightning watches them, and would kill this process when they end
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def trainer_options(device: str | None) -> dict[str, Any]:
    """Trainer arguments for "cpu", "cuda", "cuda:1" or "mps"; none for None.

    Raises UserError for anything else.
    """
    if device is None:
        return {}
    accelerator, _, index = str(device).partition(":")
    if accelerator not in ("cpu", "cuda", "mps") or (index and not (accelerator == "cuda" and index.isdigit())):
        raise UserError(f"the device {device!r}", allowed="cpu, cuda, cuda:1, mps")
    return {"accelerator": accelerator, "devices": [int(index)] if index else 1}


def new_trainer(options: Mapping[str, Any], *, max_devices: int | None = None, **fixed: Any) -> pl.Trainer:
    """A Trainer from the user's `options` and what the job fixes.

    Raises UserError for an accelerator that is not there, and for more devices than the job can use.
    """
    quiet_lightning()
    try:
        callbacks = {"callbacks": [ProgramSignals(), *(fixed.get("callbacks") or options.get("callbacks") or [])]}
        trainer = pl.Trainer(**(DEFAULTS | dict(options) | fixed | callbacks))
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as problem:
        text = str(problem).splitlines()[0]
        device = any(word in text.lower() for word in ("accelerator", "device", "gpu", "cuda", "mps"))
        fix = "see the trainer's accelerator and devices" if device else "see the options of the trainer"
        raise UserError(f"Lightning cannot start: {text}", fix=fix) from problem
    if max_devices is not None and trainer.world_size > max_devices:
        raise UserError(f"{trainer.world_size} devices", allowed=f"{max_devices}", fix="give the trainer one device")
    return trainer


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch. Raises OutOfRange for what NumPy does not take."""
    check_seed(seed)
    pl.seed_everything(seed, verbose=False)


def quiet_lightning() -> None:
    """Lightning's hints on loader workers, loggers and products are not for a reader of results."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*`pin_memory`.*")
    warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")  # the images are reported instead
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
