"""The noise of an image."""

from __future__ import annotations

from ca_seg.seed_range import check_seed


def image_seed(seed: int, image_id: str) -> int:
    """The seed of an image's noise, 0 to 2**31 - 1: from its name and the run's seed, not from its index in a batch.

    Raises OutOfRange for what is no seed.
    """
    check_seed(seed)
    value = seed
    for character in image_id:
        value = (value * 1_000_003 + ord(character)) % (2**31)
    return value
