"""A training of a second: a linear head on the colours of a few pictures of two classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from ca_seg.data.datamodule import SegmentationData
from ca_seg.heads.trained import load_head
from ca_seg.jobs.train_head import TrainingSettings, train_head
from ca_seg.jobs.training_result import TrainingResult
from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData
from ca_seg.vocabulary import IGNORE_INDEX

VALIDATION, TRAINING, BATCH = 4, 8, 2
STEPS = TRAINING // BATCH  # of an epoch
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
UP_AND_DOWN = {"kind": "smp", "options": {"decoder": "fpn", "width": 16}, "lr": 0.5}  # scores that rise and fall


def two_classes(folder: Path, void: Sequence[int] = ()) -> Path:
    """FOLDER with 4 pictures to validate on and 8 to train on; those of the indices `void` have no labelled pixel."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    draw = np.random.default_rng(0)
    names = [f"{index:02d}" for index in range(VALIDATION + TRAINING)]
    for index, name in enumerate(names):
        mask = draw.integers(0, 2, (3, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        pixels = draw.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        pixels[..., 0] = 60 * mask + draw.integers(0, 190, (48, 48))
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(np.full_like(mask, 255) if index in void else mask).save(folder / "masks" / f"{name}.png")
    classes = {"ignore": [255], "classes": {"0": "cat", "1": "grass"}}
    (folder / "classes.json").write_text(json.dumps(classes))
    (folder / "splits.json").write_text(json.dumps({"train": names[VALIDATION:], "val": names[:VALIDATION]}))
    return folder


def settings(root: Path, out: Path | None, **changes: Any) -> TrainingSettings:
    """Of two epochs; `changes` are those of the part that has them, or of the Trainer."""
    parts: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "checkpoint": {}, "top": {}, "trainer": {}}
    kinds = {"model": HeadSettings, "data": TrainingData, "checkpoint": CheckpointConfig, "top": TrainingSettings}
    for name, value in changes.items():
        part = next((part for part, kind in kinds.items() if name in kind.__dataclass_fields__), "trainer")
        parts[part][name] = value
    model = {"backbone": "rgb-patches", "lr": 0.05, "options": {"dropout": 0.3}} | parts["model"]
    data = {"train_split": "train", "val_split": "val", "batch_size": BATCH} | parts["data"]
    return TrainingSettings(
        HeadSettings(**model),
        TrainingData("folder", str(root), **data),
        CheckpointConfig(**({"tensorboard": False} | parts["checkpoint"])),
        out=None if out is None else str(out),
        trainer=QUIET | {"max_epochs": 2} | parts["trainer"],
        **parts["top"],
    )


def train(root: Path, out: Path | None, *, say: list[str] | None = None, **changes: Any) -> TrainingResult:
    """Train with `settings`; what the job announces is added to `say`. The plot, half of the time, is left out."""
    announce = (say if say is not None else []).append
    with mock.patch("ca_seg.jobs.train_head.write_learning_curve"):
        return train_head(settings=settings(root, out, **changes), announce=announce)


def head_of(out: Path) -> dict[str, torch.Tensor]:
    """The weights of the head that is written."""
    return load_file(out / "head" / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """To the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def counted_again(root: Path, out: Path) -> dict[str, float]:
    """The figures of the head that is written, counted pixel by pixel without ca_seg's metrics."""
    from ca_seg.features.registry import BASELINES, RESOLUTION

    head, source = load_head(out / "head"), BASELINES["rgb-patches"](RESOLUTION)
    matrix = np.zeros((2, 2))
    for batch in SegmentationData("folder", str(root), "val", batch_size=1).test_dataloader():
        mask = batch["mask"]
        with torch.no_grad():
            predicted = head(source(batch["image"], [0]), tuple(mask.shape[1:])).argmax(dim=1)
        for true, guess in zip(mask.flatten().tolist(), predicted.flatten().tolist(), strict=True):
            if true != IGNORE_INDEX:
                matrix[true, guess] += 1
    hits = matrix.diagonal()
    return {
        "miou": float((hits / (matrix.sum(0) + matrix.sum(1) - hits)).mean()),
        "pixel_accuracy": float(hits.sum() / matrix.sum()),
    }


def figures(out: Path) -> dict[str, float]:
    return json.loads((out / "results.json").read_text())["metrics"]
