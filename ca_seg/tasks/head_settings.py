"""The options of training a head: the backbone and the head, the images, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.settings import DataSettings
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.features.frozen import WORDS, FrozenFeatures
from ca_seg.features.registry import BASELINES, RESOLUTION
from ca_seg.features.source import FeatureSource
from ca_seg.heads.registry import head_class
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.vocabulary import Vocabulary

AUGMENT = ("none", "features", "images")
KEEP = ("last", "best")
FOR_EVALUATION = ("flip", "window", "scales")  # options of maps that features do not have


@dataclass(frozen=True)
class HeadSettings(BackboneSettings):
    """The backbone, the head and how the head is trained.

    Args:
        backbone: a name from `ca-seg zoo list`, or a baseline: rgb-patches, efficientnet-lite0
        random_weights: give the backbone's architecture random weights, as a baseline
        parts: the features that the head reads: pixels, latents, outputs, concepts, contrasts, maps
        kind: the head: linear, zero-shot-linear, fused-timesteps, convex-upsampling or smp
        options: options of the head, such as {dropout: 0.1}
        losses: the weight of each loss: cross-entropy, dice, lovasz, focal
        loss_at: image (logits at the size of the image), or tokens (cross-entropy on the backbone's grid, faster)
        lr: highest learning rate of AdamW
        weight_decay: weight decay of AdamW
        warmup_steps: steps in which the learning rate rises; after them it falls to zero along a cosine
        ema: decay of a moving average of the head's weights, such as 0.999; the average is scored and saved
    """

    random_weights: bool = False
    parts: list[str] = field(default_factory=lambda: ["contrasts"])
    kind: str = "linear"
    options: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=lambda: {"cross-entropy": 1.0})
    loss_at: str = "image"
    lr: float = 1e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 0
    ema: float | None = None

    def check(self) -> None:
        """Raises UserError for options that only maps have, an unknown head or loss, and a negative learning rate."""
        for option in ("lr", "weight_decay", "warmup_steps"):
            if not getattr(self, option) >= 0:
                raise OutOfRange(f"model.{option} is {getattr(self, option)}", allowed="0 or more")
        for name in FOR_EVALUATION:
            if getattr(self, name):
                raise UserError(f"model.{name} is for evaluation", fix="leave it out in training")
        head_class(self.kind)
        self.loss()

    @property
    def reads_words(self) -> bool:
        """Whether the head's features depend on the words."""
        return bool(set(WORDS) & set(self.parts))

    def loss(self) -> SegmentationLoss:
        return SegmentationLoss(self.losses, self.loss_at)

    def features(self, vocabulary: Vocabulary, device: str, backbone: Backbone | None = None) -> FeatureSource:
        """The frozen features that the head is trained on.

        Args:
            vocabulary: the words that the backbone is asked
            device: where the features are computed
            backbone: a loaded backbone; None: the one that these settings name

        Raises:
            UnknownName: for a name that is neither a backbone nor a baseline, and what loading raises
        """
        if backbone is None and self.backbone in BASELINES:
            return BASELINES[self.backbone](self.resolution or RESOLUTION)
        if backbone is None and self.random_weights:
            backbone = load_backbone(
                self.backbone,
                weights=self.weights,
                device=device,
                resolution=self.resolution,
                phrase_pooling=self.phrase_pooling,
                random_weights=True,
            )
        backbone = self.load(device, backbone)
        return FrozenFeatures(backbone, vocabulary, parts=self.parts, readout=self)


@dataclass(frozen=True)
class TrainingData:
    """The images that a head is trained and scored on.

    Args:
        name: a name from `ca-seg data list`
        root: the folder, for datasets that do not ship
        train_split: the part to train on
        val_split: the part to score on
        val_name: the dataset to score on, if it is another one (for generated labels: the one with the ground truth)
        val_root: the folder of that dataset
        batch_size: images per batch and process
        num_workers: processes that read images; 0: this one
        cache: a folder to keep features in; None computes them in every epoch
        cache_dtype: float16 (with a scale for each channel) or float32
        augment: none, features (augments the frozen features: an approximation), or images (turns the cache off)
        shots: train on few images, so few that every class is in at least this many
        limit: only the first images of each part
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
        """Raises UserError for parts that are not given and for options that contradict each other."""
        if self.augment not in AUGMENT:
            raise UnknownName("augmentation", self.augment, AUGMENT)
        if self.augment == "features" and self.cache is None:
            raise UserError("data.augment=features works on cached features", fix="give data.cache a folder")
        if self.val_name is None and (self.train_split is None or self.val_split is None):
            raise UserError("train_split and val_split must both be given", fix="give data.train_split, data.val_split")

    def module(self, seed: int) -> SegmentationData:
        """The images for Lightning, in an order that follows from `seed`."""
        return SegmentationData(
            self.name,
            self.root,
            self.train_split if self.val_name else self.val_split,
            self.train_split,
            self.val_split,
            self.batch_size,
            self.num_workers,
            self.augment == "images",
            limit=self.limit,
            shots=self.shots,
            val_name=self.val_name,
            val_root=self.val_root,
            seed=seed,
        )

    def vocabulary(self, classes: Sequence[str], model: HeadSettings) -> Vocabulary:
        """The words for `classes`, with the synonyms of the dataset and of `model`."""
        return DataSettings(self.name).vocabulary(classes, synonyms=model.synonyms, template=model.template)


@dataclass(frozen=True)
class CheckpointConfig:
    """What is written, and when training stops.

    Args:
        keep: the head that is saved: last (of the last epoch) or best (highest val/miou, so it is chosen on val)
        patience: stop after this many validations without a better val/miou
        tensorboard: write TensorBoard logs beside the CSV file
    """

    keep: str = "last"
    patience: int | None = None
    tensorboard: bool = True

    def check(self) -> None:
        """Raises UnknownName and OutOfRange."""
        if self.keep not in KEEP:
            raise UnknownName("head to keep", self.keep, KEEP)
        if self.patience is not None and self.patience < 1:
            raise OutOfRange(f"checkpoint.patience is {self.patience}", allowed="1 or more, or none")
