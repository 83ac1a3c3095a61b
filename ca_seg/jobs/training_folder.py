"""The folder of a training: what a resumed one continues from, and whether there is anything left to do.

OUT/.lock           held while a training writes to the folder
OUT/last.ckpt       the last complete epoch
OUT/head            the head of the last step (or of the best validation), written when training ends
OUT/results.json    its figures; removed before the head is replaced, and written after it
"""

from __future__ import annotations

import json
import pickle
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer

from ca_seg.bounded_files import check_regular, read_json
from ca_seg.errors import UserError
from ca_seg.evaluation.learning_curve import training_logs
from ca_seg.fingerprint import differences, fingerprint
from ca_seg.heads.trained import load_head
from ca_seg.jobs.training_result import TrainingResult
from ca_seg.tasks.checkpoints import RECORD, Checkpoints, Patience
from ca_seg.tasks.probe import Probe

NOT_COMPARED = ("resume", "out", "expect")  # settings that a resumed training may change without a word
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)
MAX_DIFFERENCES = 3  # that are named in a message


@dataclass(frozen=True)
class Progress:
    """How far a training came.

    Args:
        run: its name, which a resumed training keeps
        epochs: complete ones
        steps: of the optimizer
        seconds: counted for max_time; 0 without it
        waited: validations without a better one; 0 without patience
        best_score: the best val/miou; None before the first validation
    """

    run: str
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    waited: int = 0
    best_score: float | None = None

    @classmethod
    def of(cls, trainer: pl.Trainer, checkpoints: Checkpoints) -> Progress:
        """The progress of a training that has just ended."""
        seconds, waited = 0.0, 0
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            seconds += callback.time_elapsed() if isinstance(callback, Timer) else 0.0
            waited += callback.wait_count if isinstance(callback, Patience) else 0
        run, epochs, best_score = checkpoints.record["run"], checkpoints.epochs, checkpoints.best_score
        return cls(run, epochs, trainer.global_step, seconds, waited, best_score)

    def goes_on(self, trainer: pl.Trainer) -> bool:
        """Whether a training of the trainer's max_epochs, max_steps, max_time and patience has anything left to do."""
        if trainer.max_epochs not in (None, -1) and self.epochs >= trainer.max_epochs:
            return False
        if trainer.max_steps != -1 and self.steps >= trainer.max_steps:
            return False
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and self.seconds >= (callback.time_remaining() or 0):  # nothing has run yet
                return False
            if isinstance(callback, Patience) and self.waited >= callback.patience:
                return self.epochs < (trainer.min_epochs or 0) or self.steps < (trainer.min_steps or 0)
        return True


class TrainingFolder:
    """What is in the folder of a training.

    Args:
        folder: of the training
        record: what is trained, as plain values: a resumed training must have the same
        settings: all settings, as plain values
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.folder, self.results = folder, folder / "results.json"
        self.last, self.best = folder / "last.ckpt", folder / "best.ckpt"
        self.record, self.settings = json.loads(json.dumps(record)), json.loads(json.dumps(settings))

    def checkpoints(self, run: str | None = None) -> Checkpoints:
        """The callback that writes the checkpoints, of a new training or of the one named `run`."""
        what = {"run": run or secrets.token_hex(8), "record": self.record, "settings": self.settings}
        return Checkpoints(self.folder, what)

    def begin_anew(self, announce: Callable[[str], None]) -> None:
        """Remove what a former training left, but its head: that is replaced when there is a new one."""
        if self.last.exists():
            announce(f"the training that was in {self.folder} is replaced (--resume true would have continued it)")
        for name in ("results.json", "last.ckpt", "best.ckpt", "curve.png"):  # first the figures, then what they are of
            (self.folder / name).unlink(missing_ok=True)
        for logs in (*(log.parent for log in training_logs(self.folder)), self.folder / "tensorboard"):
            shutil.rmtree(logs, ignore_errors=True)

    def former(self, announce: Callable[[str], None]) -> Progress | None:
        """How far the training in last.ckpt came; None where it was stopped within its first epoch.

        Raises UserError for a checkpoint of another training, or one that cannot be read.
        """
        if not self.last.exists():
            return None
        content = read_checkpoint(self.last)
        what, states = content[RECORD], content["callbacks"]
        changed = _named(differences(what["record"], self.record))
        if changed:
            fix = "resume with the former settings, or train without resume in another out"
            raise UserError(f"{self.last} is of another training: {changed}", fix=fix)
        former, present = (
            {name: value for name, value in settings.items() if name not in NOT_COMPARED}
            for settings in (what["settings"], self.settings)
        )
        if former != present:
            announce(f"resumed with other settings: {_named(differences(former, present))}")
        waited = next((state["wait_count"] for state in states.values() if "wait_count" in state), 0)
        seconds = states.get("Timer", {}).get("time_elapsed", {}).get("train", 0.0)
        state, steps = states["Checkpoints"], content["global_step"]
        return Progress(what["run"], state["epochs"], steps, seconds, waited, state["best_score"])

    def finished(self, trainer: pl.Trainer, former: Progress | None) -> TrainingResult | None:
        """The result of this training, where it is written and nothing is left to do; else None."""
        if not self.results.exists():
            return None
        try:
            content = read_json(self.results)
            progress = Progress(**{field.name: content["training"][field.name] for field in fields(Progress)})
            same = content["training"]["record"] == fingerprint(self.record)
            same &= content["config"]["checkpoint"]["keep"] == self.settings["checkpoint"]["keep"]
        except (OSError, ValueError, LookupError, TypeError):
            return None  # of another version: it is written anew
        same &= former is None or former.run == progress.run
        if not same or progress.goes_on(trainer) or not (self.folder / "head" / "model.safetensors").exists():
            return None
        return TrainingResult(load_head(self.folder / "head"), content, self.folder)

    def about(self, progress: Progress) -> dict[str, Any]:
        """What results.json holds of the course of the training."""
        return asdict(progress) | {"record": fingerprint(self.record)}


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint of this version, whose checksums are compared. Raises UserError."""
    try:
        check_regular(file)
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as problem:
        reason = (str(problem).splitlines() or [repr(problem)])[0]
        fix = "train without resume, from the beginning"
        raise UserError(f"{file} cannot be read ({reason})", fix=fix) from problem
    if not isinstance(content, dict) or RECORD not in content:
        raise UserError(f"{file} is not of this version of ca_seg", fix="train without resume, from the beginning")
    return content


def load_weights(probe: Probe, file: Path) -> int:
    """Give a probe the weights of a checkpoint; the steps after which they were saved. Raises UserError."""
    content = read_checkpoint(file)
    probe.load_state_dict(content["state_dict"])
    return int(content["global_step"])


def _named(changed: Mapping[str, tuple[str, str]]) -> str:
    """The settings that differ, such as "seed was 0, is now 3"."""
    parts = [f"{name} was {before}, is now {now}" for name, (before, now) in changed.items()]
    more = f" and {len(parts) - MAX_DIFFERENCES} more" if len(parts) > MAX_DIFFERENCES else ""
    return f"{'; '.join(parts[:MAX_DIFFERENCES])}{more}"
