"""What the feature cache is worth in training: python benchmarks/probe.py [--json FILE] [--rounds 3] [--classes 21]

Epochs of the shipped linear probe (train.py's own parts: loaders, head, loss, optimiser), with the frozen backbone in
every step and from the cache, take turns in one run:

    uncached / cached     epoch without the cache against one from it
    data wait             share of a cached epoch in which the head waits for its loader

With fewer --classes than the scenes have, words are left out and the masks' labels are folded onto the rest: only the
time is looked at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.in_turn import in_turn
from ca_seg import Vocabulary, load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.cached_features import CachedFeatures
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.tasks.probe import Probe
from ca_seg.vocabulary import IGNORE_INDEX

TARGET, MOST_WAIT = 20.0, 0.10


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
            kept = CachedFeatures(source, cache)
            quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            self.data.val_split = "val"
            trainer = pl.Trainer(accelerator="cpu", max_steps=1, enable_model_summary=False, callbacks=[kept], **quiet)
            trainer.limit_val_batches = 0
            trainer.fit(self.probe, self.data)  # fills the cache
        self.optimizer = torch.optim.AdamW(self.probe.trained.parameters(), lr=0.01)
        self.waited = self.took = 0.0

    def epoch(self) -> None:
        start = waiting = time.perf_counter()
        for batch in self.data.train_dataloader():
            self.waited += time.perf_counter() - waiting
            mask = batch["mask"].where(batch["mask"] == IGNORE_INDEX, batch["mask"] % self.classes)
            features = self.probe.features(batch)
            loss = self.probe.loss(self.probe.trained.head.tokens(features), mask)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            waiting = time.perf_counter()
        self.took += time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, help="words that are asked (all 166)")
    parser.add_argument("--limit", type=int, help="scenes of the training part (all 160)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, kept = Epochs(None, args.limit, args.classes), Epochs(folder, args.limit, args.classes)
        times = in_turn(args.rounds, {"uncached": plain.epoch, "cached": kept.epoch})
    ratio = statistics.median(a / b for a, b in zip(times["uncached"], times["cached"], strict=True))
    report = {
        "uncached_epoch_s": statistics.median(times["uncached"]),
        "cached_epoch_s": statistics.median(times["cached"]),
        "uncached/cached": ratio,
        "data_wait": kept.waited / kept.took,
    }
    for name, value in report.items():
        print(f"{name:18} {value:.3f}")
    print(f"uncached/cached, {TARGET:.0f} or more wished: {'reached' if ratio >= TARGET else 'NOT reached'}")
    print(f"data wait, {MOST_WAIT} or less wished: {'reached' if report['data_wait'] <= MOST_WAIT else 'NOT reached'}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
