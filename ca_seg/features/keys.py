"""Which features are whose: a picture is known by the content of its file, its seed and its view, never by its name.

    sha256( bytes of the picture's file, seed, "as-is" or "mirrored" )

So a picture that was replaced gets new features, and one that was moved keeps its own (its seed follows its stem).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import picture_seed
from ca_seg.errors import UnreadableImage

THREADS = 4
_AT_ONCE = 1024  # pictures handed to the threads at a time


def picture_key(content: bytes, seed: int, *, mirrored: bool = False) -> str:
    """64 hex digits. `seed` is the picture's own."""
    digest = hashlib.sha256(content)
    digest.update(f"\n{seed}\n{'mirrored' if mirrored else 'as-is'}".encode())
    return digest.hexdigest()


def picture_keys(dataset: SegmentationDataset, seed: int, *, mirrored: bool = False) -> list[str | None]:
    """The keys of all pictures of a dataset, in a run of this seed; None for a picture without a readable file.

    Every file is read once, in a few threads, and not decoded.
    """
    stems = dataset.stems

    def key(index: int) -> str | None:
        try:
            content = dataset.picture_bytes(index)
        except UnreadableImage:
            return None
        return picture_key(content, picture_seed(seed, stems[index]), mirrored=mirrored)

    found: list[str | None] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for block in _blocks(range(len(stems))):
            found += threads.map(key, block)
    return found


def _blocks(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + _AT_ONCE] for start in range(0, len(indices), _AT_ONCE)]
