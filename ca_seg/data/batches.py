"""The order of images, and which of them share a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from torch.utils.data import BatchSampler, Sampler

from ca_seg.errors import OutOfRange, UnreadableImage


class SizeBatchSampler(BatchSampler):
    """Batches in which all images have the same size.

        index   0    1    2    3    4    5         batch size 2
        size    A    A    B    A    B    A    ──►  [0 1]  [2 4]  [3 5]

    A batch is given as soon as it is full; the rest is given at the end. Every index comes exactly once, in an order
    that follows from the sampler alone. Images whose header cannot be read have no size: they share batches of their
    own, and reading them reports what is wrong. The length is exact; it reads every header on the first call.

    Args:
        sampler: the indices in their order
        batch_size: the largest number of images in a batch
        drop_last: exclude batches that are not full (Lightning sets it)
        size_of: height and width of an index, from the header of its file; called once for each

    Raises:
        OutOfRange: for a batch size below 1
    """

    def __init__(
        self,
        sampler: Iterable[int],
        batch_size: int,
        drop_last: bool,
        size_of: Callable[[int], tuple[int, int]],
    ) -> None:
        if batch_size < 1:
            raise OutOfRange(f"batch size {batch_size}", allowed="1 or more")
        super().__init__(sampler, batch_size, drop_last)
        self.size_of = size_of
        self._sizes: dict[int, tuple[int, int] | None] = {}

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[tuple[int, int] | None, list[int]] = {}
        for index in self.sampler:
            size = self.size(index)
            batch = waiting.setdefault(size, [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield waiting.pop(size)
        if not self.drop_last:
            yield from waiting.values()

    def __len__(self) -> int:
        count = Counter(self.size(index) for index in self.sampler)
        if self.drop_last:
            return sum(n // self.batch_size for n in count.values())
        return sum(-(-n // self.batch_size) for n in count.values())

    def size(self, index: int) -> tuple[int, int] | None:
        """Height and width of an image; None where its header cannot be read."""
        if index not in self._sizes:
            try:
                self._sizes[index] = self.size_of(index)
            except UnreadableImage:
                self._sizes[index] = None
        return self._sizes[index]


class SharedBatches(BatchSampler):
    """The batches of a training epoch that one of several processes gets, equally many for each.

        batches   0  1  2  3  4        two processes   rank 0: 0 2 4     rank 1: 1 3 0

    All processes must take the same number of steps, so a process that has no batch left takes one from the beginning.

    Args:
        batches: of all processes
        rank: the number of this process, from 0
        world: how many processes there are
    """

    def __init__(self, batches: SizeBatchSampler, rank: int, world: int) -> None:
        super().__init__(batches.sampler, batches.batch_size, batches.drop_last)
        self.batches, self.rank, self.world = batches, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        first, last = [], -1
        for last, batch in enumerate(self.batches):
            if last < self.world:
                first.append(batch)
            if last % self.world == self.rank:
                yield batch
        if self.rank > last % self.world:
            yield first[self.rank % len(first)]

    def __len__(self) -> int:
        return -(-len(self.batches) // self.world)


class EpochShuffle(Sampler[int]):
    """All indices in a random order that follows from (seed, epoch) alone, so that a resumed run sees the same order.

    Lightning calls `set_epoch` before every epoch.

    Args:
        count: of the indices
        seed: of the order
        repeated: every epoch is like the first (for Lightning's overfit_batches)
    """

    def __init__(self, count: int, seed: int, *, repeated: bool = False) -> None:
        self.count, self.seed, self.repeated, self.epoch = count, seed, repeated, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = 0 if self.repeated else epoch

    def __iter__(self) -> Iterator[int]:
        yield from np.random.default_rng((self.seed, self.epoch)).permutation(self.count).tolist()

    def __len__(self) -> int:
        return self.count
