"""Training from a cache: before the first step, all processes together compute the features that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch

from ca_seg.data.batches import EpochShuffle
from ca_seg.data.datamodule import Items, SegmentationData
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.features.augment import AugmentedFeatures, FeatureAugment
from ca_seg.features.cache import FeatureCache
from ca_seg.features.cached import CachedSamples, collate_cached
from ca_seg.features.fill import fill
from ca_seg.features.source import FeatureSource
from ca_seg.tasks.probe import Probe


class CachedFeatures(pl.Callback):
    """Makes the loaders of a `SegmentationData` read features instead of images.

    Images whose features cannot be computed are added to the probe's `skipped`.

    Args:
        source: computes the features that the cache lacks
        folder: the cache
        dtype: float16 (with a scale for each channel) or float32
        augment: flip, scale and crop the features of training images (see `features/augment.py`)
        seed: seed of the noise and of the augmentation
        announce: called with a line for each damaged part of the cache, which is computed again
    """

    def __init__(
        self,
        source: FeatureSource,
        folder: Path | str,
        *,
        dtype: str = "float16",
        augment: bool = False,
        seed: int = 0,
        announce: Callable[[str], None] = print,
    ) -> None:
        self.source, self.seed, self.announce = source, seed, announce
        self.cache = FeatureCache(folder, source.identity(), dtype=dtype)
        self.augment = FeatureAugment(seed) if augment else None
        self._keys: dict[SegmentationDataset, Sequence[str | None]] = {}

    def setup(self, trainer: pl.Trainer, module: Probe, stage: str) -> None:  # type: ignore[override]
        data: SegmentationData = trainer.datamodule  # type: ignore[attr-defined]
        for dataset in (data.training_set(), data.validation_set()):
            if dataset in self._keys:
                continue
            with torch.random.fork_rng(devices=[]):  # training must not depend on how much had to be computed
                filled = fill(
                    self.cache,
                    dataset,
                    self.source,
                    batch_size=data.batch_size,
                    seed=self.seed,
                    device=trainer.strategy.root_device,
                    num_workers=data.num_workers,
                    rank=trainer.global_rank,
                    world=trainer.world_size,
                    barrier=trainer.strategy.barrier,
                    progress=trainer.progress_bar_callback is not None,
                )
            for line in filled.damaged:
                self.announce(line)
            module.skipped.update({skipped.path: skipped.reason for skipped in filled.skipped})
            self._keys[dataset] = filled.keys
        data.view = self.view

    def view(self, dataset: SegmentationDataset, order: EpochShuffle | None) -> Items:
        """What the loaders read of `dataset`: its features; augmented where they are for training (`order` given)."""
        samples = CachedSamples(dataset, self.cache, seed=self.seed, keys=self._keys[dataset])
        if order is None or self.augment is None:
            return Items(samples, samples.size, collate_cached)
        return Items(AugmentedFeatures(samples, self.augment, order), samples.size, collate_cached)
