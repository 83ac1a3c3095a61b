"""A student trained on generated labels, beside one trained on the ground truth and beside its teacher.

python -m recipes.student.table --dataset scenes --out out/student
python -m recipes.student.table --dataset msrc --root DIR --out out/student

Every student is the same network with the same budget. Each figure is kept as a file: an interrupted table continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.jobs.evaluate import EvaluationSettings, evaluate
from recipes.once import once
from recipes.page import fill
from recipes.student.labels import BACKBONE, with_tags, zero_shot_labels
from recipes.student.student import train_student

TEST = {"scenes": "val", "msrc": "dev"}
THRESHOLD = 0.2  # of the margin, for the row that leaves uncertain pixels out; not tuned
ROWS = {
    "teacher": "teacher: mini, zero-shot, all classes offered",
    "teacher-tags": "teacher with oracle classes",
    "labels": "student on the teacher's labels",
    "confident": f"student on labels with a margin of {THRESHOLD} or more",
    "weighted": "student on labels, pixels weighted by confidence",
    "tags": "student on labels of the teacher with oracle classes",
    "ground_truth": "student on the ground truth",
}


class Table:
    """The figures of one dataset."""

    def __init__(self, dataset: str, root: str | None, out: Path, epochs: int) -> None:
        self.dataset, self.root, self.out, self.epochs = dataset, root, out / dataset, epochs

    def row(self, name: str, seeds: list[int]) -> list[dict[str, float]]:
        if name.startswith("teacher"):
            return [self._once(name, self._teacher)]
        return [
            self._once(f"{name}-{seed}-{self.epochs}-epochs", lambda seed=seed: self._student(name, seed))
            for seed in seeds
        ]

    def _once(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, float]:
        figures = once(self.out / f"{name}.json", compute)
        return figures.get("oracle-presence" if name == "teacher-tags" else "full-vocabulary", figures)

    def _teacher(self) -> dict[str, dict[str, float]]:
        """The figures of the backbone that labels, under both protocols."""
        data = EvaluationData(self.dataset, self.root, TEST[self.dataset])
        settings = EvaluationSettings(report=False, trainer={"enable_progress_bar": False})
        results = evaluate(BACKBONE, data, settings, out=self.out / "eval", device="cpu")
        if not results.complete:
            raise UserError("some test images could not be scored", fix=f"see {self.out / 'eval' / 'results.json'}")
        return results.metrics

    def _student(self, name: str, seed: int) -> dict[str, float]:
        return train_student(self.data(name, seed), epochs=self.epochs, seed=seed)[1]

    def data(self, name: str, seed: int) -> SegmentationData:
        """The images that the student of a row is trained and scored on. Labels are generated when they are needed."""
        test = {"val_split": TEST[self.dataset], "batch_size": 16, "augment": True, "crop": 128, "seed": seed}
        if name == "ground_truth":
            return SegmentationData(self.dataset, self.root, train_split="train", **test)
        folder = self.out / "labels" / ("labels" if name == "weighted" else name)
        test |= {"val_name": self.dataset, "val_root": self.root}
        if name == "tags":
            with_tags(self.dataset, self.root, "train", folder)
            return SegmentationData("folder", str(folder), train_split="train", **test)
        zero_shot_labels(self.dataset, self.root, "train", folder, THRESHOLD if name == "confident" else None)
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
    parser.add_argument("--page", type=Path, help="a page whose table, marked with the dataset's name, is renewed")
    args = parser.parse_args()
    table = Table(args.dataset, args.root, args.out, args.epochs)
    lines = ["| | mIoU | pixel accuracy |", "|---|---|---|"]
    for name in args.rows:
        figures = table.row(name, args.seeds)
        texts = []
        for figure in ("miou", "pixel_accuracy"):
            values = [100 * row[figure] for row in figures]
            texts.append(f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else ""))
        lines.append(f"| {ROWS[name]} | {' | '.join(texts)} |")
        print(lines[-1], flush=True)
    (args.out / f"{args.dataset}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if args.page is not None:
        fill(args.page, args.dataset, "\n".join(lines))


if __name__ == "__main__":
    main()
