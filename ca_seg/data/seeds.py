"""The noise of a picture."""

from __future__ import annotations


def picture_seed(seed: int, stem: str) -> int:
    """A picture's noise depends on its name and the run's seed, not on its place in a batch."""
    value = seed
    for character in stem:
        value = (value * 1_000_003 + ord(character)) % (2**31)
    return value
