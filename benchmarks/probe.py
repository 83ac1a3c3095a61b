"""Speed-up of training by the feature cache: python benchmarks/probe.py [--json FILE] [--rounds 3] [--classes 21]

Two kinds of epochs of the shipped linear probe (with the loaders, head, loss and optimiser of train.py) take turns: the
frozen backbone runs in each step, or the features come from the cache.

    uncached/cached     seconds of an epoch without the cache / with the cache
    data_wait/epoch     the fraction of a cached epoch in which the head waits for its loader

With fewer --classes than the scenes have, the other words are dropped and labels are taken modulo the number of
classes. The accuracy is then meaningless, the time is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from in_turn import in_turn

from ca_seg import Vocabulary, load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.cached_features import CachedFeatures
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.tasks.probe import Probe
from ca_seg.vocabulary import IGNORE_INDEX

TARGET, MAX_WAIT = 20.0, 0.10


class Epochs:
    """A probe in training, one epoch at a time."""

    def __init__(self, cache: str | None, limit: int | None, classes: int | None) -> None:
        self.data = SegmentationData("scenes", None, "val", "train", None, batch_size=16, limit=limit)
        classes = self.data.class_list.names[:classes]
        self.classes = len(classes)
        source = FrozenFeatures(load_backbone("mini"), Vocabulary.from_names(classes))
        head = TrainedHead(
            kind="linear",
            backbone="mini",
            classes=list(classes),
            phrases=[[c] for c in classes],
            channels=source.channels,
        )
        self.probe = Probe(source, head, loss=SegmentationLoss({"cross-entropy": 1.0}, "tokens"), lr=0.01)
        if cache is not None:
            features = CachedFeatures(source, cache)
            quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            self.data.val_split = "val"
            trainer = pl.Trainer(
                accelerator="cpu", max_steps=1, enable_model_summary=False, callbacks=[features], **quiet
            )
            trainer.limit_val_batches = 0
            trainer.fit(self.probe, self.data)  # fills the cache
        self.optimizer = torch.optim.AdamW(self.probe.trained.parameters(), lr=0.01)
        self.waiting_seconds = self.seconds = 0.0

    def epoch(self) -> None:
        start = waiting = time.perf_counter()
        for batch in self.data.train_dataloader():
            self.waiting_seconds += time.perf_counter() - waiting
            mask = batch["mask"].where(batch["mask"] == IGNORE_INDEX, batch["mask"] % self.classes)
            features = self.probe.features(batch)
            loss = self.probe.loss(self.probe.trained.head.tokens(features), mask)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            waiting = time.perf_counter()
        self.seconds += time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=3, help="after one warm-up round")
    parser.add_argument("--classes", type=int, help="number of words (default: all 166)")
    parser.add_argument("--limit", type=int, help="number of training scenes (default: all 160)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uncached, cached = Epochs(None, args.limit, args.classes), Epochs(folder, args.limit, args.classes)
        times = in_turn(args.rounds, {"uncached": uncached.epoch, "cached": cached.epoch})
    ratio = statistics.median(a / b for a, b in zip(times["uncached"], times["cached"], strict=True))
    waiting = cached.waiting_seconds / cached.seconds
    seconds = {f"{name}_epoch_s": statistics.median(values) for name, values in times.items()}
    report = seconds | {"ratios": {"uncached/cached": ratio, "data_wait/epoch": waiting}}
    for name, value in (seconds | report["ratios"]).items():
        print(f"{name:18} {value:.3f}")
    print(f"uncached/cached >= {TARGET:.0f}: {'reached' if ratio >= TARGET else 'NOT reached'}")
    print(f"data_wait/epoch <= {MAX_WAIT}: {'reached' if waiting <= MAX_WAIT else 'NOT reached'}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
