"""Which features are whose: an image is known by the content of its file, its seed and its view, never by its name.

    sha256( bytes of the image's file, seed, "as-is" or "flipped" )

So an image that was replaced gets new features, and one that was moved keeps its own (its seed follows its stem).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UnreadableImage

THREADS = 4
_AT_ONCE = 1024  # images handed to the threads at a time


def image_key(content: bytes, seed: int, *, flipped: bool = False) -> str:
    """64 hex digits. `seed` is the image's own."""
    digest = hashlib.sha256(content)
    digest.update(f"\n{seed}\n{'flipped' if flipped else 'as-is'}".encode())
    return digest.hexdigest()


def image_keys(dataset: SegmentationDataset, seed: int, *, flipped: bool = False) -> list[str | None]:
    """The keys of all images of a dataset, in a run of this seed; None for an image without a readable file.

    Every file is read once, in a few threads, and not decoded.
    """
    image_ids = dataset.image_ids

    def key(index: int) -> str | None:
        try:
            content = dataset.image_bytes(index)
        except UnreadableImage:
            return None
        return image_key(content, image_seed(seed, image_ids[index]), flipped=flipped)

    found: list[str | None] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for block in _blocks(range(len(image_ids))):
            found += threads.map(key, block)
    return found


def _blocks(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + _AT_ONCE] for start in range(0, len(indices), _AT_ONCE)]
