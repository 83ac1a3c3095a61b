"""Training of a head on the features of a frozen backbone.

images ──► frozen backbone ──► features (cached) ──► head ──► loss
                                                      └──► OUT/head, scored on the validation images after each epoch

OUT/head            the trained head, as `load_head` reads it
OUT/last.ckpt       the last complete epoch, from which `resume` continues; OUT/best.ckpt the one with the best val/miou
OUT/results.json    figures, settings, versions
OUT/log-N           losses and figures as CSV, one folder per start; OUT/curve.png their plot; OUT/tensorboard
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.settings import DataSettings, data_named
from ca_seg.evaluation.expectations import check_expected
from ca_seg.evaluation.learning_curve import training_logs, write_learning_curve
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.features.registry import BASELINES
from ca_seg.features.source import FeatureSource
from ca_seg.folder_lock import lock_folder
from ca_seg.heads.trained import TrainedHead
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.fit import figures_of, fit, training_trainer
from ca_seg.jobs.plain import plain
from ca_seg.jobs.trainer import seed_all, trainer_options
from ca_seg.jobs.training_checks import check_time, check_training, warn_of_shared_images
from ca_seg.jobs.training_folder import Progress, TrainingFolder, load_weights
from ca_seg.jobs.training_result import TrainingResult
from ca_seg.jobs.words import check_words
from ca_seg.json_file import write_json
from ca_seg.predictors.settings import choose_backbone
from ca_seg.tasks.cached_features import CachedFeatures
from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData
from ca_seg.tasks.probe import FIGURES, Probe
from ca_seg.versions import versions
from ca_seg.vocabulary import Vocabulary

TRAINER = {"max_epochs": 20, "log_every_n_steps": 5}  # where the settings do not say otherwise


@dataclass(frozen=True)
class TrainingSettings:
    """Options of the training of a head.

    Args:
        model: the backbone, the head and how the head is trained
        data: the images
        checkpoint: what is written, and when training stops
        expect: path/to/figure: [value, tolerance]; the run fails when a figure leaves its tolerance
        seed: seed of the head's first weights, of the order of the images and of the noise
        resume: continue from OUT/last.ckpt
        out: the folder of the head, checkpoints, logs and results; None: nothing is written
        trainer: arguments of Lightning's Trainer; by default 20 epochs
    """

    model: HeadSettings = field(default_factory=HeadSettings)
    data: TrainingData = field(default_factory=TrainingData)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    expect: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    resume: bool = False
    out: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)


def train_head(
    backbone: str | Backbone | HeadSettings | None = None,
    data: str | Path | TrainingData | None = None,
    settings: TrainingSettings | None = None,
    *,
    head: str | None = None,
    train_split: str | None = None,
    val_split: str | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> TrainingResult:
    """Train a segmentation head on the frozen features of a backbone, and score it.

    Args:
        backbone: a name of the zoo, a loaded backbone, or settings; in place of `settings.model`
        data: a dataset's name, a folder with images/, masks/ and classes.json, or settings; in place of `settings.data`
        settings: all other options
        head: linear, zero-shot-linear, convex-upsampling or smp; in place of `settings.model.kind`
        train_split: the part of the dataset to train on, in place of `settings.data.train_split`
        val_split: the part to score on, in place of `settings.data.val_split`
        device: cpu, cuda, cuda:1 or mps; in place of the trainer's accelerator
        out: a folder to write to, in place of `settings.out`
        announce: called with a line when there is something to report

    Returns:
        The trained head, its figures, and the images that could not be used.

    Raises:
        UserError: for settings, data or weights that cannot be used, and when the loss becomes infinite or NaN

    Example:
        >>> result = ca_seg.train_head("mini", "scenes", train_split="train", val_split="val", head="linear")
        >>> result.metrics["miou"]
        >>> mask = result.head.segment(backbone, image)
    """
    settings = checked_settings(settings, TrainingSettings())
    model, loaded = choose_backbone(settings.model, backbone)
    if loaded is not None:
        model = replace(model, **_reading(loaded.card))
    images = settings.data
    if isinstance(data, TrainingData):
        images = data
    elif data is not None:
        dataset = data_named(data, DataSettings)
        images = replace(images, name=dataset.name, root=dataset.root)
    images = replace(images, train_split=train_split or images.train_split, val_split=val_split or images.val_split)
    settings = replace(
        settings,
        model=model if head is None else replace(model, kind=head),
        data=images,
        trainer=TRAINER | settings.trainer | trainer_options(device),
        out=settings.out if out is None else str(out),
    )
    return _train(settings, loaded, announce)


def _train(settings: TrainingSettings, loaded: Backbone | None, announce: Callable[[str], None]) -> TrainingResult:
    start = time.monotonic()
    trial = bool(settings.trainer.get("fast_dev_run"))  # Lightning's trial of one batch, of which nothing is kept
    folder = None if settings.out is None or trial else Path(settings.out)
    check_training(settings, folder, trial=trial)
    trainer = training_trainer(settings, folder)
    check_time(trainer)
    seed_all(settings.seed)
    data = settings.data.module(settings.seed)
    probe, record = _probe(settings, data, trainer, loaded)
    if trainer.is_global_zero:
        warn_of_shared_images(data)
    check_expected(settings.expect, _content(settings, probe, dict.fromkeys(FIGURES, 0.0), 0, 0.0))  # their names
    with nullcontext() if folder is None or not trainer.is_global_zero else lock_folder(folder, "training in"):
        if settings.data.cache is not None and settings.data.augment == "images":
            announce("data.augment=images makes new images in every epoch: the cache is not used")
        elif settings.data.cache is not None:
            trainer.callbacks.append(_cached(settings, probe.source, announce))  # type: ignore[attr-defined]
        if folder is None:
            fit(trainer, probe, data, None)
            figures = figures_of(trainer, probe, data, None)
            if not trainer.is_global_zero:
                return TrainingResult(probe.result, {})
            content = _content(settings, probe, figures, probe.global_step, time.monotonic() - start)
            return TrainingResult(probe.result, content | _expectations(settings, content))

        files = TrainingFolder(folder, record, plain(settings))
        progress = files.former(announce) if settings.resume else None
        finished = files.finished(trainer, progress) if settings.resume else None
        if finished is not None:
            announce(f"the training in {folder} is finished; nothing was changed")
            return finished
        if settings.resume and progress is None:
            announce(f"the training in {folder} was stopped within its first epoch, and begins anew")
        elif not settings.resume and trainer.is_global_zero:
            files.begin_anew(announce)
        weights = None
        if progress is None or progress.goes_on(trainer):
            checkpoints = files.checkpoints(None if progress is None else progress.run)
            trainer.callbacks.append(checkpoints)  # type: ignore[attr-defined]
            data.first_epoch = 0 if progress is None else progress.epochs
            fit(trainer, probe, data, None if progress is None else files.last)
            progress = Progress.of(trainer, checkpoints)
        else:  # it was stopped after its last epoch, before its head was written
            weights = files.last
        if settings.checkpoint.keep == "best" and progress.best_score is not None:
            weights = files.best
        steps = progress.steps if weights is None else load_weights(probe, weights)
        figures = figures_of(trainer, probe, data, weights)
        if not trainer.is_global_zero:
            return TrainingResult(probe.result, {}, folder)
        content = _content(settings, probe, figures, steps, time.monotonic() - start)
        result = TrainingResult(probe.result, content | {"training": files.about(progress)}, folder)
        write_learning_curve(training_logs(folder), folder / "curve.png")
        path = result.save(folder)  # before a wrong expectation could cost the head
        result.content.update(_expectations(settings, content))
        write_json(path, result.content)
        return result


def _probe(
    settings: TrainingSettings, data: SegmentationData, trainer: pl.Trainer, loaded: Backbone | None
) -> tuple[Probe, dict[str, Any]]:
    """What is trained, and the same as plain values: a checkpoint of anything else cannot be resumed."""
    model = settings.model
    vocabulary = settings.data.vocabulary(data.class_list.names, model)
    if loaded is not None or model.backbone not in BASELINES:
        check_words(model, vocabulary.concepts, loaded, warn=model.reads_words and trainer.is_global_zero)
    source = model.features(vocabulary, str(trainer.strategy.root_device), loaded)
    seed_all(settings.seed)  # the head's first weights do not depend on how the backbone came
    arguments = _head_arguments(model, source, vocabulary)
    probe = Probe(
        source,
        TrainedHead(**arguments),
        loss=model.loss(),
        lr=model.lr,
        weight_decay=model.weight_decay,
        warmup_steps=model.warmup_steps,
        ema=model.ema,
        seed=settings.seed,
    )
    return probe, {"head": arguments, "features": source.identity(), "ema": model.ema is not None}


def _cached(settings: TrainingSettings, source: FeatureSource, announce: Callable[[str], None]) -> CachedFeatures:
    data = settings.data
    assert data.cache is not None
    return CachedFeatures(
        source,
        data.cache,
        dtype=data.cache_dtype,
        augment=data.augment == "features",
        seed=settings.seed,
        announce=announce,
    )


def _head_arguments(model: HeadSettings, source: FeatureSource, vocabulary: Vocabulary) -> dict[str, Any]:
    """Of `TrainedHead`."""
    card = source.backbone.card if isinstance(source, FrozenFeatures) else None
    return {
        "kind": model.kind,
        "backbone": source.name,
        "classes": list(vocabulary.classes),
        "phrases": [list(phrases) for phrases in vocabulary.phrases],
        "channels": source.channels,
        "maps": source.maps,
        "stride": source.stride,
        "parts": model.parts,
        "readout": model.plain(),
        "resolution": model.resolution if card is None else card.resolution,
        "phrase_pooling": None if card is None else card.phrase_pooling,
        "options": model.options,
    }


def _reading(card: Card) -> dict[str, Any]:
    """Resolution and phrase pooling of a loaded backbone; None where they are those of the published card."""
    published = find_card(card.name)
    return {
        "resolution": None if card.resolution == published.resolution else card.resolution,
        "phrase_pooling": None if card.phrase_pooling == published.phrase_pooling else card.phrase_pooling,
    }


def _content(
    settings: TrainingSettings, probe: Probe, figures: dict[str, float], steps: int, seconds: float
) -> dict[str, Any]:
    """What results.json holds, without a comparison with what is expected; `steps` are those of the head."""
    return {
        "metrics": figures,
        "head": {"kind": settings.model.kind, "parameters": sum(p.numel() for p in probe.trained.parameters())},
        "features": probe.source.identity(),
        "steps": steps,
        "seconds": seconds,
        "config": plain(settings),
        "versions": versions(),
        "expect": [],
        "skipped": [list(pair) for pair in probe.skipped.items()],
    }


def _expectations(settings: TrainingSettings, content: dict[str, Any]) -> dict[str, Any]:
    """What results.json says of the expected figures: nothing where not all images were used."""
    return {"expect": check_expected(settings.expect, content) if settings.data.limit is None else []}
