"""Lightning's Trainer for a job: its defaults, its errors as one line, and none of its hints."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ca_seg.errors import OutOfRange, UserError

DEFAULTS: dict[str, Any] = {"accelerator": "auto", "devices": 1}
MAX_SEED = 2**32 - 1
INFERENCE = {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}  # we share images


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
        trainer = pl.Trainer(**(DEFAULTS | dict(options) | fixed))
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as problem:
        fix = "see the trainer's accelerator and devices"
        raise UserError(f"Lightning cannot start: {str(problem).splitlines()[0]}", fix=fix) from problem
    if max_devices is not None and trainer.world_size > max_devices:
        raise UserError(f"{trainer.world_size} devices", allowed=f"{max_devices}", fix="give the trainer one device")
    return trainer


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch. Raises OutOfRange for what NumPy does not take."""
    if not 0 <= seed <= MAX_SEED:
        raise OutOfRange(f"the seed {seed}", allowed=f"0 to {MAX_SEED}")
    pl.seed_everything(seed, verbose=False)


def quiet_lightning() -> None:
    """Lightning's hints on loader workers, loggers and products are not for a reader of results."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*`pin_memory`.*")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
