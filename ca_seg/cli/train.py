"""`python train.py --config-file FILE [--key.sub value ...]`: train a head on a frozen backbone."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from ca_seg.cli.arguments import Parsed, add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.cli.guarded import guarded
from ca_seg.data.catalogue import class_words
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.evaluation.expectations import check_expected, check_pairs
from ca_seg.evaluation.learning_curve import logs, write_learning_curve
from ca_seg.features.registry import open_source
from ca_seg.features.source import FeatureSource
from ca_seg.heads.registry import head_class
from ca_seg.heads.trained import TrainedHead
from ca_seg.json_file import write_json
from ca_seg.tasks.cached_features import CachedFeatures
from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.tasks.probe import Probe
from ca_seg.tasks.whole_checkpoint import WholeCheckpoint
from ca_seg.versions import versions
from ca_seg.vocabulary import Vocabulary


def train(arguments: Sequence[str]) -> int:
    """Train, score, and write the head; 0 when all images were used and all expectations hold."""
    parsed = _parse(arguments)
    settings, start = parsed.settings, time.monotonic()
    quiet_lightning()
    out, model, source, keeping = Path(settings.out), settings.model, settings.data, settings.keeping
    for part in (model, source, keeping):
        part.check()
    if source.augment == "features" and "pixels" in model.parts:
        raise UserError(
            "pixels of a token cannot be flipped or scaled with it", fix="leave --data.augment features out"
        )
    head_class(model.kind)
    check_pairs(settings.expect)
    last = out / "last.ckpt"
    if settings.resume and not last.exists():
        raise UserError(f"there is no {last} to resume from", fix="train without --resume first")
    if not settings.resume:
        for log in logs(out):
            shutil.rmtree(log.parent)
    loss = SegmentationLoss(model.losses, model.loss_at)

    pl.seed_everything(settings.seed, verbose=False)
    data = _data(source, settings.seed)
    vocabulary = _vocabulary(model, source.name, data.class_list.names)
    best = ModelCheckpoint(out, "best", monitor="val/miou", mode="max", save_last=True, enable_version_counter=False)
    trainer = new_trainer(
        **parsed.trainer | {"use_distributed_sampler": False},  # shares are our own
        callbacks=[best, *_callbacks(keeping)],
        logger=_loggers(out, keeping, settings.resume),
        plugins=[WholeCheckpoint()],
    )
    frozen = open_source(model, vocabulary, str(trainer.strategy.root_device))
    pl.seed_everything(settings.seed, verbose=False)  # the head's first weights do not depend on how the backbone came
    probe = Probe(
        frozen,
        _head(model, frozen, vocabulary),
        loss=loss,
        lr=model.lr,
        weight_decay=model.weight_decay,
        warmup_steps=model.warmup_steps,
        ema=model.ema,
        seed=settings.seed,
    )
    if source.cache is not None and source.augment == "images":
        print("--data.augment images makes new images in every epoch: the cache is not used")
    elif source.cache is not None:
        augment = source.augment == "features"
        kept = CachedFeatures(frozen, source.cache, dtype=source.cache_dtype, augment=augment, seed=settings.seed)
        trainer.callbacks.append(kept)  # type: ignore[attr-defined]
    trainer.fit(probe, data, ckpt_path=str(last) if settings.resume else None, weights_only=True)
    if keeping.keep == "best":
        trainer.validate(probe, data, ckpt_path=best.best_model_path, verbose=False, weights_only=True)
    if not trainer.is_global_zero:
        return 0
    figures = {name.removeprefix("val/"): float(value) for name, value in trainer.callback_metrics.items()}
    save_head(probe.result, out / "head")
    write_learning_curve(logs(out), out / "curve.png")
    results = _results(settings, parsed, probe, figures, time.monotonic() - start)
    write_json(out / "results.json", results)
    print(f"mIoU {results['metrics']['miou']:.4f}; head: {out / 'head'}; curve: {out / 'curve.png'}")
    for path, reason in probe.skipped.items():
        print(f"skipped: {path}: {reason}")
    for check in results["expect"]:
        print(f"{'as' if check['holds'] else 'NOT as'} expected: {check['figure']} = {check['found']:.4f}")
    print(out / "results.json")
    return 0 if all(check["holds"] for check in results["expect"]) and not probe.skipped else 1


def save_head(head: TrainedHead, folder: Path) -> None:
    """The whole folder or, when it cannot be written, what stood there before."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        head.save_pretrained(part)
        (part / "model.safetensors").chmod(0o644)  # safetensors lets nobody else read it
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise UserError(f"{folder} cannot be written ({reason})", fix="free room, or give another --out") from problem


def _parse(arguments: Sequence[str]) -> Parsed:
    known = parser("Train a head on the features of a frozen backbone.")
    known.add_argument("--model", type=HeadSettings, default=HeadSettings())
    known.add_argument("--data", type=TrainingData, default=TrainingData())
    known.add_argument("--keeping", type=CheckpointConfig, default=CheckpointConfig())
    known.add_argument("--expect", type=dict[str, list[float]], default={}, help="path/to/figure: [value, tolerance]")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--resume", type=bool, default=False, help="go on from OUT/last.ckpt")
    known.add_argument("--out", type=str, default="out/head")
    add_trainer(known, accelerator="auto", devices=1, max_epochs=20, log_every_n_steps=5)
    return parse(known, arguments)


def _data(source: TrainingData, seed: int) -> SegmentationData:
    return SegmentationData(
        source.name,
        source.root,
        source.train_split if source.val_name else source.val_split,
        source.train_split,
        source.val_split,
        source.batch_size,
        source.num_workers,
        source.augment == "images",
        limit=source.limit,
        shots=source.shots,
        val_name=source.val_name,
        val_root=source.val_root,
        seed=seed,
    )


def _vocabulary(model: HeadSettings, dataset: str, classes: Sequence[str]) -> Vocabulary:
    synonyms = class_words(dataset).synonyms | (model.synonyms or {})
    return Vocabulary.from_names(classes, synonyms=synonyms, template=model.template)


def _head(model: HeadSettings, frozen: FeatureSource, vocabulary: Vocabulary) -> TrainedHead:
    return TrainedHead(
        kind=model.kind,
        backbone=frozen.name,
        classes=list(vocabulary.classes),
        phrases=[list(own) for own in vocabulary.phrases],
        channels=frozen.channels,
        maps=frozen.maps,
        stride=frozen.stride,
        parts=model.parts,
        readout=model.readout().plain(),
        resolution=model.resolution,
        options=model.options,
    )


def _callbacks(keeping: CheckpointConfig) -> list[Callback]:
    stop = [] if keeping.patience is None else [EarlyStopping("val/miou", mode="max", patience=keeping.patience)]
    return [LearningRateMonitor("step"), *stop]


def _loggers(out: Path, keeping: CheckpointConfig, resume: bool) -> list[Logger]:
    """A run that goes on writes a log of its own: Lightning would delete the one that is there."""
    before = logs(out) if resume else []
    board = [TensorBoardLogger(out, name="", version="tensorboard")] if keeping.tensorboard else []
    return [CSVLogger(out, name="", version=f"log-{len(before) + 1}"), *board]


def _results(
    settings: Namespace, parsed: Parsed, probe: Probe, figures: dict[str, float], seconds: float
) -> dict[str, Any]:
    results: dict[str, Any] = {"metrics": {name: figures[name] for name in ("miou", "pixel_accuracy")}}
    checks = check_expected(settings.expect, results) if settings.data.limit is None else []
    return results | {
        "head": {"kind": settings.model.kind, "parameters": sum(p.numel() for p in probe.trained.parameters())},
        "features": probe.source.identity(),
        "steps": probe.global_step,
        "seconds": seconds,
        "config": parsed.given,
        "versions": versions(),
        "expect": checks,
        "skipped": [list(pair) for pair in probe.skipped.items()],
    }


def main() -> int:
    return guarded(lambda: train(sys.argv[1:]))
