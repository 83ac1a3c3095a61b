"""The seeds that every job takes: what Python, NumPy and PyTorch all accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

from ca_seg.errors import OutOfRange, UserError

MAX_SEED = 2**32 - 1  # of NumPy


def check_seed(seed: int) -> None:
    """Raises OutOfRange for what is no whole number from 0 to MAX_SEED."""
    if not isinstance(seed, Integral) or not 0 <= seed <= MAX_SEED:
        raise OutOfRange(f"the seed {seed!r:.60}", allowed=f"0 to {MAX_SEED}")


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """A seed for each of `count` images: the same for all, or those that are given.

    Raises:
        OutOfRange: for a seed out of range
        UserError: for another number of seeds
    """
    seeds = list(seed) if isinstance(seed, Iterable) and not isinstance(seed, str) else [seed] * count
    for one in seeds:
        check_seed(one)
    if len(seeds) != count:
        raise UserError(f"{len(seeds)} seeds for {count} images", allowed="one number, or one per image")
    return seeds
