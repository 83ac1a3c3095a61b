"""The noise of an image."""

from __future__ import annotations


def image_seed(seed: int, image_id: str) -> int:
    """An image's noise depends on its name and the run's seed, not on its place in a batch."""
    value = seed
    for character in image_id:
        value = (value * 1_000_003 + ord(character)) % (2**31)
    return value
