"""Computing what a cache lacks.

    dataset ──►  key of each image   ──►  not in the cache ──►  batches of one size ──►  source ──►  shards

A killed run goes on by running it again. Several ranks of one run share the images by their number; several runs that
happen to fill the same cache each begin at a random batch, and leave out what the other has stored meanwhile.
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

SHARD_BYTES = 128 * 2**20  # most bytes of a shard (one image may be larger)
SHARD_IMAGES = 500  # most images of a shard: what a kill costs at most


@dataclass
class Filled:
    """What `fill` did in this process."""

    keys: list[str | None]  # of all images of the dataset, for CachedSamples
    computed: int = 0
    damaged: list[str] = field(default_factory=list)  # one line for each shard that was found damaged
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
    shard_bytes: int = SHARD_BYTES,
    shard_images: int = SHARD_IMAGES,
) -> Filled:
    """Verify what is in the cache, and compute what is missing for the images of a dataset; their masks are not read.

    Every image gets the noise of `image_seed(seed, stem)`. With `flipped`, the source is shown the flipped
    image, and its features are kept beside those of the image as it is. Without `verify` a shard that was damaged
    on disk is found when its images are read, which are then skipped and not computed again.

    Process `rank` of `world` does the images rank, rank + world, ...; `barrier` waits for the others (Lightning's
    `trainer.strategy.barrier`). When it returns, the cache has what all of them computed. An image that cannot be
    read, that the source refuses with a UserError or whose features are not finite is skipped and not fatal.

    Raises UserError when the cache cannot be written (what is in it stays good), UnusableFeatures when no image of
    the dataset got features, OutOfRange for a share that does not exist.
    """
    if not 0 <= rank < world:
        raise OutOfRange(f"process {rank} of {world}", allowed=f"0 to {world - 1}")
    shown = progress and rank == 0
    filled = Filled(image_keys(dataset, seed, flipped=flipped))
    if verify:
        filled.damaged = cache.verify(rank=rank, world=world, progress=shown)
    barrier()  # a shard that another process found damaged is gone now
    cache.refresh()
    keys = filled.keys
    work = _Missing(dataset, keys, seed, flipped)
    share = range(rank, len(keys), world)
    filled.skipped += [work.skip(i, work.unreadable(i)) for i in share if keys[i] is None]
    missing = [i for i in share if keys[i] is not None and keys[i] not in cache]
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
            finally:  # an interrupt, or memory that ran out, costs nothing that is computed
                shard.write()
    barrier()
    cache.refresh()
    if not any(key in cache for key in keys):
        first = f"; {filled.skipped[0].path}: {filled.skipped[0].reason}" if filled.skipped else ""
        raise UnusableFeatures(f"no image of the dataset got features{first}")
    return filled


@dataclass(frozen=True)
class _Images:
    """What is read of one batch."""

    indices: list[int]
    images: torch.Tensor  # [len(indices), 3, H, W]
    skipped: list[Skipped]


def _compute(
    source: FeatureSource, work: _Missing, batch: _Images, dtype: str, device: torch.device | str, filled: Filled
) -> Iterator[tuple[str, StoredFeatures]]:
    """Key and features of every image of a batch that gets some; the others are noted in `filled`."""
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
        raise ValueError(f"{source.name} gave {tuple(features.shape)}, not [{count}, {source.channels}, h, w]")
    size = (batch.images.shape[2], batch.images.shape[3])
    for index, own in zip(indices, features, strict=True):
        key = work.keys[index]
        if key is not None and own.isfinite().all():
            filled.computed += 1
            yield key, to_stored(own, dtype, size)
        else:
            filled.skipped.append(work.skip(index, "its features are not finite"))


class _Shard:
    """Features that wait to be written."""

    def __init__(self, cache: FeatureCache, most_bytes: int, most_images: int) -> None:
        self.cache, self.most_bytes, self.most_images = cache, most_bytes, most_images
        self.waiting: dict[str, StoredFeatures] = {}
        self.bytes = 0

    def add(self, key: str, stored: StoredFeatures) -> None:
        if self.bytes + stored.nbytes > self.most_bytes or len(self.waiting) >= self.most_images:
            self.write()
        self.waiting[key] = stored
        self.bytes += stored.nbytes

    def write(self) -> None:
        waiting, self.waiting, self.bytes = self.waiting, {}, 0
        self.cache.store(waiting)


class _Missing(Dataset):
    """Images alone: their index and pixels [3, H, W], or why they cannot be used."""

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
        if key != self.keys[index]:  # its features would be kept under the key of what stood there before
            return self.skip(index, "the file was changed while this ran; run it again")
        return index, image.flip(-1) if self.flipped else image

    def unreadable(self, index: int) -> str:
        """Why an image has no key."""
        try:
            self.dataset.image_bytes(index)
        except UnreadableImage as problem:
            return str(problem)
        return "the file was not there when this began; run it again"

    def skip(self, index: int, reason: str) -> Skipped:
        return Skipped(str(self.dataset.image_path(index)), reason)


class _Batches:
    """Batches from a random one on, without the images that are in the cache by the time they come up."""

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
