"""`ca-seg train` and `python train.py`: train a head on a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ca_seg.cli.parser import JobParser
from ca_seg.jobs.train_head import TRAINER, TrainingSettings, train_head


def run(arguments: Sequence[str]) -> int:
    """0 when every image was used and every expectation holds, else 1."""
    description = "Train a segmentation head on the features of a frozen backbone."
    defaults = {"out": "out/head"} | {f"trainer.{name}": value for name, value in TRAINER.items()}
    settings = JobParser("ca-seg train", description, TrainingSettings, **defaults).parse(arguments)
    result = train_head(settings=settings, announce=print)
    if not result.content:
        return 0  # another process than the first
    out = Path(settings.out)
    print(f"mIoU {result.metrics['miou']:.4f}; head: {out / 'head'}; curve: {out / 'curve.png'}")
    for path, reason in result.skipped.items():
        print(f"skipped: {path}: {reason}")
    for check in result.content["expect"]:
        print(f"{'as' if check['holds'] else 'NOT as'} expected: {check['figure']} = {check['found']:.4f}")
    print(out / "results.json")
    return 0 if result.as_expected and not result.skipped else 1
