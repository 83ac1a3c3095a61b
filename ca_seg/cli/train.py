"""`ca-seg train` and `python train.py`: train a head on a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ca_seg.cli.parser import JobParser
from ca_seg.cli.stopping import when_stopped
from ca_seg.jobs.train_head import TRAINER, TrainingSettings, train_head


def run(arguments: Sequence[str]) -> int:
    """0 when every image was used and every expectation holds, else 1."""
    description = "Train a segmentation head on the features of a frozen backbone."
    defaults = {"out": "out/head"} | {f"trainer.{name}": value for name, value in TRAINER.items()}
    settings = JobParser("ca-seg train", description, TrainingSettings, **defaults).parse(arguments)
    with when_stopped(lambda: _how_to_go_on(settings)):
        result = train_head(settings=settings, announce=print)
    if not result.content:
        return 0  # another process than the first
    score = f"mIoU {result.metrics['miou']:.4f}" if result.metrics else "not scored: trainer.limit_val_batches is 0"
    if result.folder is None:
        print(f"{score}; a trial, of which nothing is written")
    else:
        print(f"{score}; head: {result.folder / 'head'}; curve: {result.folder / 'curve.png'}")
    for path, reason in result.skipped.items():
        print(f"skipped: {path}: {reason}")
    for check in result.content["expect"]:
        print(f"{'as' if check['holds'] else 'NOT as'} expected: {check['figure']} = {check['found']:.4f}")
    if result.folder is not None:
        print(result.folder / "results.json")
    return 0 if result.as_expected and not result.skipped else 1


def _how_to_go_on(settings: TrainingSettings) -> str:
    """Where a training that was stopped continues."""
    features = f"; features that were computed are kept in {settings.data.cache}" if settings.data.cache else ""
    last = Path(settings.out or "") / "last.ckpt"
    if not last.exists():
        return f"no epoch was complete: the same command again begins anew{features}"
    return f"the last complete epoch is in {last}: the same command with --resume true continues from it{features}"
