"""Trained heads for a table: each run's figures stay in its results.json, so an interrupted table continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.jobs.evaluate import EvaluationSettings, evaluate
from ca_seg.jobs.train_head import TrainingSettings, train_head
from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData

DATA = {
    "scenes": TrainingData("scenes", train_split="train", val_split="val"),
    "msrc": TrainingData("msrc", train_split="train", val_split="dev"),
}
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
Figures = dict[str, float]


@dataclass(frozen=True)
class Runs:
    """The runs of one dataset: where they are written, and what they have in common."""

    out: Path
    data: TrainingData
    epochs: int

    def train(
        self,
        name: str,
        model: HeadSettings,
        seed: int,
        *,
        data: TrainingData | None = None,
        epochs: int | None = None,
    ) -> Figures:
        """mIoU and pixel accuracy of one head, which is trained unless it was before.

        Args:
            name: of the run
            model: the backbone and the head
            seed: of the training
            data: the images, in place of those of the table
            epochs: in place of those of the table
        """
        epochs = epochs or self.epochs
        data = replace(data or self.data, cache=str(self.out / "features"))
        settings = TrainingSettings(
            model,
            data,
            CheckpointConfig(tensorboard=False),
            seed=seed,
            trainer=QUIET | {"max_epochs": epochs, "check_val_every_n_epoch": epochs},  # scored once, at the end
        )

        def run(out: Path) -> None:
            if train_head(settings=settings, out=out).skipped:
                raise UserError(f"{out} was not trained on every image")

        return self._once(name, seed, run)

    def zero_shot(self, name: str, backbone: str, seed: int) -> Figures:
        """The same figures of the backbone's zero-shot maps, with all classes offered."""
        data = EvaluationData(self.data.name, self.data.root, self.data.val_split)
        settings = EvaluationSettings(data=data, report=False, seed=seed, trainer=QUIET)

        def run(out: Path) -> None:
            if not evaluate(backbone, settings=settings, out=out).complete:
                raise UserError(f"{out} was not scored on every image")

        return self._once(name, seed, run)

    def _once(self, name: str, seed: int, run: Callable[[Path], None]) -> Figures:
        out = self.out / name / str(seed)
        if not (out / "results.json").exists():
            run(out)
        metrics = json.loads((out / "results.json").read_text(encoding="utf-8"))["metrics"]
        return metrics.get("full-vocabulary", metrics)


def over_seeds(run: Callable[[int], Figures], seeds: Sequence[int]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each figure of `run(seed)`."""
    rows = [run(seed) for seed in seeds]
    values = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: (mean(row), stdev(row) if len(row) > 1 else 0.0) for name, row in values.items()}
