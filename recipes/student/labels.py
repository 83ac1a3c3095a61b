"""Labels of a dataset's training images by the shipped backbone: all classes offered, or only those of each image."""

from __future__ import annotations

from pathlib import Path

from ca_seg import load_backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from recipes.student.word_labels import WordLabeller

BACKBONE = "mini"


def zero_shot_labels(name: str, root: str | None, split: str, out: Path, threshold: float | None) -> None:
    """Label a part of a dataset as `ca_seg.label` does, all its classes offered. An interrupted run continues."""
    if (out / "summary.json").exists():
        return
    settings = LabelSettings(threshold=threshold, trainer={"enable_progress_bar": False})
    if label(DataSettings(name, root, split), settings=settings, backbone=BACKBONE, out=out, device="cpu").skipped:
        raise UserError(f"some images of {name} were skipped", fix=f"see {out / 'summary.json'}")


def with_tags(name: str, root: str | None, split: str, out: Path) -> None:
    """Labels for which the backbone is offered the classes that each image shows, and no others."""
    WordLabeller(ZeroShotPredictor(load_backbone(BACKBONE))).write(open_dataset(name, root, split), out)
