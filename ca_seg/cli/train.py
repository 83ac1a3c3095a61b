"""`python train.py --config-file FILE [--key.sub value ...]`: train a head on a frozen backbone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from ca_seg.backbones.load import load_backbone
from ca_seg.cli.arguments import add_trainer, new_trainer, parse, parser, quiet_lightning
from ca_seg.cli.guarded import guarded
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.evaluation.results import check_expected, check_pairs, versions, write_results
from ca_seg.tasks.linear_probe import LinearProbe


@dataclass
class ProbeSettings:
    """The head and its training.

    Args:
        backbone: a name from `ca-seg zoo list`
        weights: a local folder with the weights, in the diffusers layout
        lr: learning rate of AdamW, falling to zero along a cosine
        weight_decay: of AdamW
        dropout: of whole feature channels
    """

    backbone: str = "mini"
    weights: str | None = None
    lr: float = 1e-3
    weight_decay: float = 1e-3
    dropout: float = 0.1


@dataclass
class ProbeData:
    """Which pictures.

    Args:
        name: a name from `ca-seg data list`
        root: the folder, for datasets that do not ship
        train_split: the part to train on
        val_split: the part to score on
        batch_size: pictures per batch
        num_workers: processes that read pictures
        augment: random scaled, cropped, flipped and recoloured views
        limit: only the first pictures of each split
    """

    name: str = "scenes"
    root: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    batch_size: int = 16
    num_workers: int = 0
    augment: bool = False
    limit: int | None = None


def train(arguments: Sequence[str]) -> int:
    """Train, score, and write the head of the last epoch; 0 when all pictures were used and all expectations hold."""
    known = parser("Train a linear head on the concept-projected features of a frozen backbone.")
    known.add_argument("--model", type=ProbeSettings, default=ProbeSettings())
    known.add_argument("--data", type=ProbeData, default=ProbeData())
    known.add_argument("--expect", type=dict[str, list[float]], default={}, help="path/to/figure: [value, tolerance]")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--resume", type=bool, default=False, help="go on from OUT/last.ckpt")
    known.add_argument("--out", type=str, default="out/linear_probe")
    add_trainer(known, accelerator="auto", devices=1, max_epochs=20)
    parsed = parse(known, arguments)
    settings = parsed.settings
    quiet_lightning()
    out, model, source = Path(settings.out), settings.model, settings.data
    check_pairs(settings.expect)
    if source.train_split is None or source.val_split is None:
        fix = "--data.train_split NAME --data.val_split NAME"
        raise UserError("train_split and val_split must both be given", fix=fix)

    pl.seed_everything(settings.seed, verbose=False)
    data = SegmentationData(
        source.name,
        source.root,
        source.val_split,
        source.train_split,
        source.val_split,
        source.batch_size,
        source.num_workers,
        source.augment,
        limit=source.limit,
        seed=settings.seed,
    )
    classes = data.class_list.names
    checkpoints = ModelCheckpoint(
        out, "best", monitor="val/miou", mode="max", save_last=True, enable_version_counter=False
    )
    trainer = new_trainer(
        devices_at_most=1,
        **parsed.trainer,
        callbacks=[checkpoints],
        logger=CSVLogger(out, name="", version="log"),
    )
    backbone = load_backbone(model.backbone, weights=model.weights, device=str(trainer.strategy.root_device))
    probe = LinearProbe(
        backbone, classes, lr=model.lr, weight_decay=model.weight_decay, dropout=model.dropout, seed=settings.seed
    )
    last = out / "last.ckpt"
    if settings.resume and not last.exists():
        raise UserError(f"there is no {last} to resume from", fix="train without --resume first")
    trainer.fit(probe, data, ckpt_path=str(last) if settings.resume else None, weights_only=True)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    probe.head.save(out, backbone=model.backbone, class_names=classes)
    results = {"metrics": {"miou": figures["val/miou"], "pixel_accuracy": figures["val/pixel_accuracy"]}}
    checks = check_expected(settings.expect, results) if source.limit is None else []
    results |= {
        "config": parsed.given,
        "versions": versions(),
        "expect": checks,
        "skipped": [list(s) for s in probe.skipped.items()],
    }
    write_results(out / "results.json", results)
    scored = results["metrics"]
    print(f"mIoU {scored['miou']:.4f}, pixel accuracy {scored['pixel_accuracy']:.4f}; head: {out / 'head.safetensors'}")
    for check in checks:
        print(f"{'as' if check['holds'] else 'NOT as'} expected: {check['figure']} = {check['found']:.4f}")
    print(out / "results.json")
    return 0 if all(check["holds"] for check in checks) and not probe.skipped else 1


def main() -> int:
    return guarded(lambda: train(sys.argv[1:]))
