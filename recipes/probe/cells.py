"""One trained head is one cell: its figures stay in its results.json, so a table that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from ca_seg.cli.train import train
from ca_seg.errors import UserError

DATA = {
    "scenes": ["--data.name", "scenes", "--data.train_split", "train", "--data.val_split", "val"],
    "msrc": ["--data.name", "msrc", "--data.train_split", "train", "--data.val_split", "dev"],
}


@dataclass(frozen=True)
class Cells:
    """Where the cells of a dataset lie, and what all of them are told."""

    out: Path
    dataset: str
    root: str | None
    epochs: int

    def run(self, name: str, given: Sequence[str], seed: int) -> dict[str, float]:
        """The figures of one head, trained now or before."""
        out = self.out / self.dataset / name / str(seed)
        if not (out / "results.json").exists():
            arguments = [*DATA[self.dataset], "--data.cache", str(self.out / "features")]
            arguments += ["--data.root", self.root] if self.root else []
            arguments += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", str(self.epochs)]
            arguments += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
            arguments += ["--keeping.tensorboard", "false", "--seed", str(seed), "--out", str(out)]
            told = [*arguments, *given]
            last = told[len(told) - 1 - told[::-1].index("--trainer.max_epochs") + 1]
            if train([*told, "--trainer.check_val_every_n_epoch", last]):  # scored once, at the end
                raise UserError(f"{out} was not trained on every image")
        return json.loads((out / "results.json").read_text(encoding="utf-8"))["metrics"]

    def over_seeds(self, name: str, given: Sequence[str], seeds: Sequence[int]) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each figure."""
        rows = [self.run(name, given, seed) for seed in seeds]
        spread = stdev if len(rows) > 1 else lambda _: 0.0
        return {figure: (mean(r[figure] for r in rows), spread([r[figure] for r in rows])) for figure in rows[0]}
