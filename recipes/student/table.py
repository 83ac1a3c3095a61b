"""A student trained on labels that nobody drew, beside one trained on the ground truth, and beside its teacher.

python -m recipes.student.table --dataset scenes --out out/student
python -m recipes.student.table --dataset msrc --root DIR --out out/student

Every student is the same network with the same budget. A table that was stopped goes on: each figure is kept as a file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from ca_seg.atomic import atomic_write
from ca_seg.cli.evaluate import evaluate
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from recipes.student.labels import by_command, with_tags
from recipes.student.student import train_student

TEST = {"scenes": "val", "msrc": "dev"}
THRESHOLD = 0.2  # of the margin, for the row that leaves unsure pixels out; not tuned
ROWS = {
    "teacher": "teacher: mini, zero-shot, all classes offered",
    "teacher-tags": "teacher told which classes an image shows",
    "labels": "student on its labels as they are",
    "sure": f"student on its labels where the margin is {THRESHOLD} or more",
    "weighted": "student on its labels, pixels weighted by confidence",
    "tags": "student on labels of a teacher that was told each image's classes",
    "ground_truth": "student on the ground truth",
}


class Table:
    """The cells of one dataset."""

    def __init__(self, dataset: str, root: str | None, out: Path, epochs: int) -> None:
        self.dataset, self.root, self.out, self.epochs = dataset, root, out / dataset, epochs

    def row(self, name: str, seeds: list[int]) -> list[dict[str, float]]:
        if name.startswith("teacher"):
            return [self._kept(name, self._teachers)]
        return [
            self._kept(f"{name}-{seed}-{self.epochs}-epochs", lambda seed=seed: self._student(name, seed))
            for seed in seeds
        ]

    def _kept(self, name: str, made: Callable[[], dict[str, float]]) -> dict[str, float]:
        file = self.out / f"{name}.json"
        if not file.exists():
            figures = made()
            with atomic_write(file) as part:
                part.write_text(json.dumps(figures) + "\n", encoding="utf-8")
        found = json.loads(file.read_text(encoding="utf-8"))
        return found.get("oracle-presence" if name == "teacher-tags" else "full-vocabulary", found)

    def _teachers(self) -> dict[str, float]:
        arguments = ["--data.name", self.dataset, "--data.splits", f"[{TEST[self.dataset]}]", "--report", "false"]
        arguments += ["--data.root", self.root] if self.root else []
        arguments += ["--out", str(self.out / "eval"), "--trainer.accelerator", "cpu"]
        if evaluate([*arguments, "--trainer.enable_progress_bar", "false"]):
            raise UserError("some test images could not be scored")
        return json.loads((self.out / "eval" / "results.json").read_text(encoding="utf-8"))["metrics"]

    def _student(self, name: str, seed: int) -> dict[str, float]:
        return train_student(self.data(name, seed), epochs=self.epochs, seed=seed)[1]

    def data(self, name: str, seed: int) -> SegmentationData:
        """What the student of a row learns from, and is scored on. Labels are made when they are first wanted."""
        test = {"val_split": TEST[self.dataset], "batch_size": 16, "augment": True, "crop": 128, "seed": seed}
        if name == "ground_truth":
            return SegmentationData(self.dataset, self.root, train_split="train", **test)
        folder = self.out / "labels" / ("labels" if name == "weighted" else name)
        test |= {"val_name": self.dataset, "val_root": self.root}
        if name == "tags":
            if not (folder / "splits.json").exists():
                with_tags(self.dataset, self.root, "train", folder)
                splits = {"train": [p.stem for p in sorted((folder / "images").iterdir())]}
                with atomic_write(folder / "splits.json") as part:
                    part.write_text(json.dumps(splits) + "\n", encoding="utf-8")
            return SegmentationData("folder", str(folder), train_split="train", **test)
        by_command(self.dataset, self.root, "train", folder, THRESHOLD if name == "sure" else None)
        split = "weighted" if name == "weighted" else "all"
        return SegmentationData("labelled", str(folder), train_split=split, **test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=TEST, default="scenes")
    parser.add_argument("--root")
    parser.add_argument("--out", type=Path, default=Path("out/student"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    table = Table(args.dataset, args.root, args.out, args.epochs)
    lines = ["| | mIoU | pixel accuracy |", "|---|---|---|"]
    for name in args.rows:
        figures = table.row(name, args.seeds)
        cells = []
        for figure in ("miou", "pixel_accuracy"):
            values = [100 * row[figure] for row in figures]
            cells.append(f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else ""))
        lines.append(f"| {ROWS[name]} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    (args.out / f"{args.dataset}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
