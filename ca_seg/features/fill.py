"""Computes the features that a cache lacks.

    dataset ──►  key of each image   ──►  not in the cache ──►  batches of one size ──►  source ──►  shards

To continue a killed run, run it again. The ranks of one run divide the images by their index. Several independent runs
that fill the same cache each begin at a random batch, and leave out what another run has stored in the meantime.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from ca_seg.data.batches import SizeBatchSampler
from ca_seg.data.collate import Skipped
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UnreadableImage, UnusableFeatures, UserError
from ca_seg.features.cache import FeatureCache
from ca_seg.features.keys import image_key, image_keys
from ca_seg.features.source import FeatureSource
from ca_seg.features.stored import StoredFeatures, to_stored

MAX_SHARD_BYTES = 128 * 2**20  # (one image may be larger)
MAX_SHARD_IMAGES = 500  # the most that a kill can lose


@dataclass
class FillResult:
    """What `fill` did in this process."""

    keys: list[str | None]  # of all images of the dataset, for CachedSamples
    computed: int = 0
    damaged: list[str] = field(default_factory=list)  # one line for each damaged shard
    skipped: list[Skipped] = field(default_factory=list)  # images without features, and why


def fill(
    cache: FeatureCache,
    dataset: SegmentationDataset,
    source: FeatureSource,
    *,
    batch_size: int = 8,
    seed: int = 0,
    flipped: bool = False,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
    rank: int = 0,
    world: int = 1,
    barrier: Callable[[], object] = lambda: None,
    verify: bool = True,
    progress: bool = True,
    shard_bytes: int = MAX_SHARD_BYTES,
    shard_images: int = MAX_SHARD_IMAGES,
) -> FillResult:
    """Verify what is in the cache, and compute what is missing for the images of a dataset. Masks are not read.

    An image that cannot be read, that the source refuses with a UserError or whose features are not finite is skipped;
    it does not stop the run.

    Args:
        cache: where the features go
        dataset: the images
        source: computes the features
        batch_size: images per batch
        seed: each image gets the noise of `image_seed(seed, image_id)`
        flipped: compute the features of the flipped images; they are stored beside those of the images as they are
        device: where the source computes
        num_workers: processes that read images; 0: this one
        rank, world: this process computes the images rank, rank + world, ...
        barrier: waits for the other processes (Lightning's `trainer.strategy.barrier`)
        verify: read what is stored first. Without it, damage is detected only when an image is read, which is then
            skipped and not computed again.
        progress: show a bar
        shard_bytes, shard_images: when a shard is written

    Returns:
        what was done in this process; the cache then contains what all of them computed

    Raises:
        UserError: the cache cannot be written (what is in it stays valid)
        UnusableFeatures: no image of the dataset got features
        OutOfRange: for a `rank` that is not below `world`
    """
    if not 0 <= rank < world:
        raise OutOfRange(f"process {rank} of {world}", allowed=f"0 to {world - 1}")
    shown = progress and rank == 0
    filled = FillResult(image_keys(dataset, seed, flipped=flipped))
    if verify:
        filled.damaged = cache.verify(rank=rank, world=world, progress=shown)
    barrier()  # now shards that another process found damaged are gone
    cache.refresh()
    keys = filled.keys
    work = _Missing(dataset, keys, seed, flipped)
    indices = range(rank, len(keys), world)
    filled.skipped += [work.skip(i, work.unreadable(i)) for i in indices if keys[i] is None]
    missing = [i for i in indices if keys[i] is not None and keys[i] not in cache]
    if missing:
        cache.check_writable()
        source.to(torch.device(device))
        shard = _Shard(cache, shard_bytes, shard_images)
        with _bar(shown) as bar:
            task = bar.add_task("computing features", total=len(missing))
            batches = _Batches(SizeBatchSampler(missing, batch_size, False, dataset.size), keys, cache)
            try:
                for batch in DataLoader(work, batch_sampler=batches, num_workers=num_workers, collate_fn=_collate):
                    for key, stored in _compute(source, work, batch, cache.dtype, device, filled):
                        shard.add(key, stored)
                    bar.update(task, completed=batches.passed)
            finally:  # so that an interrupt, or running out of memory, loses nothing that is computed
                shard.write()
    barrier()
    cache.refresh()
    if not any(key in cache for key in keys):
        first = f"; {filled.skipped[0].path}: {filled.skipped[0].reason}" if filled.skipped else ""
        raise UnusableFeatures(f"no image of the dataset got features{first}")
    return filled


@dataclass(frozen=True)
class _Images:
    """The images of one batch."""

    indices: list[int]
    images: torch.Tensor  # [len(indices), 3, H, W]
    skipped: list[Skipped]


def _compute(
    source: FeatureSource, work: _Missing, batch: _Images, dtype: str, device: torch.device | str, filled: FillResult
) -> Iterator[tuple[str, StoredFeatures]]:
    """Key and features of the images of a batch; those without are noted in `filled`."""
    filled.skipped += batch.skipped
    indices, count = batch.indices, len(batch.indices)
    if not indices:
        return
    try:
        features = source(batch.images.to(device), [image_seed(work.seed, work.image_ids[i]) for i in indices])
    except UserError as problem:
        filled.skipped += [work.skip(i, str(problem)) for i in indices]
        return
    if features.ndim != 4 or features.shape[:2] != (count, source.channels):
        raise ValueError(f"{source.name} returned {tuple(features.shape)}, not [{count}, {source.channels}, h, w]")
    size = (batch.images.shape[2], batch.images.shape[3])
    for index, image_features in zip(indices, features, strict=True):
        key = work.keys[index]
        if key is not None and image_features.isfinite().all():
            filled.computed += 1
            yield key, to_stored(image_features, dtype, size)
        else:
            filled.skipped.append(work.skip(index, "its features are not finite"))


class _Shard:
    """Features that are not yet written."""

    def __init__(self, cache: FeatureCache, max_bytes: int, max_images: int) -> None:
        self.cache, self.max_bytes, self.max_images = cache, max_bytes, max_images
        self.waiting: dict[str, StoredFeatures] = {}
        self.bytes = 0

    def add(self, key: str, stored: StoredFeatures) -> None:
        if self.bytes + stored.nbytes > self.max_bytes or len(self.waiting) >= self.max_images:
            self.write()
        self.waiting[key] = stored
        self.bytes += stored.nbytes

    def write(self) -> None:
        waiting, self.waiting, self.bytes = self.waiting, {}, 0
        self.cache.store(waiting)


class _Missing(Dataset):
    """Images without masks: their index and pixels [3, H, W], or why they cannot be used."""

    def __init__(self, dataset: SegmentationDataset, keys: Sequence[str | None], seed: int, flipped: bool) -> None:
        self.dataset, self.keys, self.seed, self.flipped = dataset, keys, seed, flipped
        self.image_ids = dataset.image_ids

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor] | Skipped:
        try:
            image = self.dataset.read_image(index)
            content = self.dataset.image_bytes(index)
        except UnreadableImage as problem:
            return self.skip(index, str(problem))
        key = image_key(content, image_seed(self.seed, self.image_ids[index]), flipped=self.flipped)
        if key != self.keys[index]:  # its features would be stored under the key of the former file
            return self.skip(index, "the file was changed during the run; run it again")
        return index, image.flip(-1) if self.flipped else image

    def unreadable(self, index: int) -> str:
        """Why an image has no key."""
        try:
            self.dataset.image_bytes(index)
        except UnreadableImage as problem:
            return str(problem)
        return "the file was missing when the run began; run it again"

    def skip(self, index: int, reason: str) -> Skipped:
        return Skipped(str(self.dataset.image_path(index)), reason)


class _Batches:
    """Batches from a random one on, without images that are in the cache by the time it is their turn."""

    def __init__(self, batches: SizeBatchSampler, keys: Sequence[str | None], cache: FeatureCache) -> None:
        self.batches, self.keys, self.cache = list(batches), keys, cache
        self.passed = 0  # images

    def __iter__(self) -> Iterator[list[int]]:
        first = secrets.randbelow(len(self.batches))
        for batch in self.batches[first:] + self.batches[:first]:
            self.passed += len(batch)
            left = [index for index in batch if self.keys[index] not in self.cache]
            if left:
                yield left


def _collate(items: Sequence[tuple[int, torch.Tensor] | Skipped]) -> _Images:
    skipped = [item for item in items if isinstance(item, Skipped)]
    read = [item for item in items if not isinstance(item, Skipped)]
    images = torch.stack([image for _, image in read]) if read else torch.empty(0, 3, 0, 0)
    return _Images([index for index, _ in read], images, skipped)


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not shown)
