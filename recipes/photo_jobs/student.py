"""A student of labels that were made from words, beside the same student of the true masks.

python -m recipes.photo_jobs.student --backbone photo

The words of an image are the classes that its mask shows; nothing else of the masks of train is used, but those of the
10 images of the split "few": they fit the temperature and the threshold of the confidence, and choose whether maps are
refined. No image of dev is used but to score. Every student is the same network with the same budget. A second student,
of `--probes`, is a linear head on the frozen features of EfficientNet-Lite0, as networks of ImageNet are often reused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.jobs.trainer import quiet_lightning
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.tasks.head_settings import TrainingData
from recipes.command import run
from recipes.once import once
from recipes.photo_jobs.msrc import FOLDER
from recipes.probe.runs import Runs
from recipes.probe.table import LINEAR
from recipes.student.student import train_student
from recipes.student.word_labels import WordLabeller

OUT = Path("out/photographs/student")
REFINEMENTS: tuple[tuple[str, ...], ...] = ((), ("pamr",), ("balance", "pamr"))
ROWS = ("words", "confident", "masks")
CROP, BATCH, EPOCHS = 192, 8, 30
PROBE_SIDE, PROBE_EPOCHS = 384, 20


class StudentTable:
    """Labels, their quality, and the students that learn from them.

    Args:
        backbone: labels the images
        folder: of MSRC-21, as `recipes.photo_jobs.msrc` writes it
        out: the labels, and a file for each figure: an interrupted table continues
        precision: of the pixels that keep their label, wanted on the images of "few"
        limit: only the first images of each part; None: all
    """

    def __init__(
        self, backbone: str, folder: Path, out: Path, *, precision: float = 0.9, limit: int | None = None
    ) -> None:
        self.backbone, self.folder, self.out, self.limit = backbone, folder, out, limit
        self.precision = precision

    @cached_property
    def predictor(self) -> Predictor:
        """What labels the images; loaded when it is first needed."""
        model = BackboneSettings(backbone=self.backbone)
        return model.predictor(model.load("cpu"))

    def calibration(self) -> dict[str, Any]:
        """The refinement, the temperature and the threshold, fitted on "few", and the figures there."""
        return once(self.out / "calibration.json", self._calibrate)

    def quality(self) -> dict[str, Any]:
        """Figures of the labels on all images of train that are not in "few"."""
        return once(self.out / "labels.json", self._quality)

    def student(self, row: str, seed: int, epochs: int) -> dict[str, Any]:
        """mIoU and pixel accuracy on dev of the student of one row."""
        data = self.data(row, seed)
        return once(
            self.out / f"{row}-{seed}-{epochs}-epochs.json",
            lambda: train_student(data, epochs=epochs, seed=seed, pretrained=True)[1],
        )

    def probe(self, row: str, seed: int, epochs: int) -> dict[str, Any]:
        """mIoU and pixel accuracy on dev of the linear head that learns the labels of one row."""
        root = self.folder if row == "masks" else self._labels(row)
        data = TrainingData(
            "folder",
            str(root),
            train_split="train",
            val_name="folder",
            val_root=str(self.folder),
            val_split="dev",
            limit=self.limit,
        )
        head = replace(LINEAR, backbone="efficientnet-lite0", resolution=PROBE_SIDE)
        return dict(Runs(self.out / "probes", data, epochs).train(row, head, seed))

    def data(self, row: str, seed: int) -> SegmentationData:
        """The images that the student of a row is trained and scored on. Labels are made when they are needed."""
        root = self.folder if row == "masks" else self._labels(row)
        return SegmentationData(
            "folder",
            str(root),
            train_split="train",
            val_name="folder",
            val_root=str(self.folder),
            val_split="dev",
            batch_size=BATCH,
            augment=True,
            crop=CROP,
            limit=self.limit,
            seed=seed,
        )

    def _labels(self, row: str) -> Path:
        fitted, out = self.calibration(), self.out / "labels" / row
        threshold = fitted["threshold"] if row == "confident" else 0.0
        labeller = self._labeller(fitted["refine"])
        labeller.write(self._part("train"), out, temperature=fitted["temperature"], threshold=threshold)
        return out

    def _calibrate(self) -> dict[str, Any]:
        few = self._part("few")
        fits = {steps: self._labeller(steps).fit(few, self.precision) for steps in REFINEMENTS}
        best = max(fits, key=lambda steps: fits[steps].figures["accuracy"])
        return {
            "backbone": self.backbone,
            "images": len(few),
            "refine": best,
            "temperature": fits[best].temperature,
            "threshold": fits[best].thresholds,
            "figures": fits[best].figures,
            "accuracy_by_refinement": {"+".join(steps) or "none": fits[steps].figures["accuracy"] for steps in fits},
        }

    def _quality(self) -> dict[str, Any]:
        fitted, few, train = self.calibration(), set(self._part("few").image_ids), self._part("train")
        others = train.only([index for index, name in enumerate(train.image_ids) if name not in few])
        labeller = self._labeller(fitted["refine"])
        return {"images": len(others)} | labeller.quality(others, fitted["temperature"], fitted["threshold"])

    def _labeller(self, steps: Sequence[str]) -> WordLabeller:
        classes = open_dataset("folder", str(self.folder)).class_list.names
        return WordLabeller(self.predictor, refinement(Refinement(steps=list(steps)), classes))

    def _part(self, split: str) -> SegmentationDataset:
        dataset = open_dataset("folder", str(self.folder), split)
        return dataset if self.limit is None else dataset.first(self.limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="photo")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--precision", type=float, default=0.9)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--probes", nargs="*", choices=ROWS, default=["words", "masks"])
    parser.add_argument("--limit", type=int, help="only the first images of each part")
    args = parser.parse_args()
    quiet_lightning()
    table = StudentTable(args.backbone, args.data, args.out, precision=args.precision, limit=args.limit)
    print("calibration:", table.calibration())
    print("labels:", table.quality())
    for row in args.rows:
        for seed in args.seeds:
            print(f"{row}, seed {seed}:", table.student(row, seed, args.epochs), flush=True)
    for row in args.probes:
        for seed in args.seeds:
            print(f"linear head, {row}, seed {seed}:", table.probe(row, seed, PROBE_EPOCHS), flush=True)


if __name__ == "__main__":
    run(main)
