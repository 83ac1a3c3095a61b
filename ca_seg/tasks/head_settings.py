"""The settings of `train.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ca_seg.errors import UnknownName, UserError
from ca_seg.predictors.settings import BackboneSettings

AUGMENT = ("none", "features", "images")
KEEP = ("last", "best")


@dataclass
class HeadSettings(BackboneSettings):
    """The backbone, the head and its training.

    Args:
        random_weights: the backbone's architecture with fresh weights, to compare with
        parts: what the head reads: outputs, concepts, maps (see ca_seg/features/frozen.py)
        kind: a head by its name
        options: of the head, such as {dropout: 0.1}
        losses: weights by name: cross-entropy, dice, lovasz, focal
        loss_at: image (logits at the image's size), or tokens (cross entropy on the backbone's grid, quicker)
        lr: highest learning rate of AdamW
        weight_decay: of AdamW
        warmup_steps: steps in which the learning rate rises; after them it falls to zero along a cosine
        ema: decay of an average of the head's weights, such as 0.999; it is what is scored and kept
    """

    random_weights: bool = False
    parts: list[str] = field(default_factory=lambda: ["concepts"])
    kind: str = "linear"
    options: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=lambda: {"cross-entropy": 1.0})
    loss_at: str = "image"
    lr: float = 1e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 0
    ema: float | None = None

    def check(self) -> None:
        """Raises UserError for what maps have and features do not."""
        for name in ("flip", "window", "scales", "stride"):
            if getattr(self, name):
                raise UserError(f"--model.{name} is for evaluation", fix="leave it out in training")


@dataclass
class TrainingData:
    """Which images.

    Args:
        name: a name from `ca-seg data list`
        root: the folder, for datasets that do not ship
        train_split: the part to train on
        val_split: the part to score on
        val_name: the dataset to score on, where it is another one (with labels that were made: their ground truth)
        val_root: its folder
        batch_size: images per batch and process
        num_workers: processes that read images
        cache: a folder to keep features in; null computes them every time
        cache_dtype: float16 (with a scale for each channel) or float32
        augment: none, features (of the frozen features: an approximation), or images (turns the cache off)
        shots: train on so few images that every class is in at least this many
        limit: only the first images of each split
    """

    name: str = "scenes"
    root: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    val_name: str | None = None
    val_root: str | None = None
    batch_size: int = 16
    num_workers: int = 0
    cache: str | None = None
    cache_dtype: str = "float16"
    augment: str = "none"
    shots: int | None = None
    limit: int | None = None

    def check(self) -> None:
        if self.augment not in AUGMENT:
            raise UnknownName("augmentation", self.augment, AUGMENT)
        if self.augment == "features" and self.cache is None:
            raise UserError("--data.augment features works on kept features", fix="give --data.cache FOLDER")
        if self.val_name is None and (self.train_split is None or self.val_split is None):
            fix = "--data.train_split NAME --data.val_split NAME"
            raise UserError("train_split and val_split must both be given", fix=fix)


@dataclass
class CheckpointConfig:
    """What is written, and when training ends.

    Args:
        keep: the head that is given away: last (of the last epoch) or best (highest val/miou, so chosen on val)
        patience: stop after so many validations without a better val/miou
        tensorboard: write TensorBoard logs beside the CSV
    """

    keep: str = "last"
    patience: int | None = None
    tensorboard: bool = True

    def check(self) -> None:
        if self.keep not in KEEP:
            raise UnknownName("head to keep", self.keep, KEEP)
