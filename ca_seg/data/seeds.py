"""The noise of an image."""

from __future__ import annotations


def image_seed(seed: int, image_id: str) -> int:
    """The seed of an image's noise, 0 to 2**31 - 1: from its name and the run's seed, not from its index in a batch."""
    value = seed
    for character in image_id:
        value = (value * 1_000_003 + ord(character)) % (2**31)
    return value
