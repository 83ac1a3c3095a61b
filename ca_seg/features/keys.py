"""Keys of the cache: an image is identified by the content of its file, its seed and its view, never by its name.

    sha256( bytes of the image's file, seed, "as-is" or "flipped" )

So an image that was replaced gets new features, and one that was moved keeps them (its seed depends on its image_id).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UnreadableImage

THREADS = 4
_CHUNK_IMAGES = 1024  # images that are passed to the threads at a time


def image_key(content: bytes, seed: int, *, flipped: bool = False) -> str:
    """64 hex digits for the bytes of an image's file, the seed of this image, and whether it is flipped."""
    digest = hashlib.sha256(content)
    digest.update(f"\n{seed}\n{'flipped' if flipped else 'as-is'}".encode())
    return digest.hexdigest()


def image_keys(dataset: SegmentationDataset, seed: int, *, flipped: bool = False) -> list[str | None]:
    """The keys of all images of a dataset; None for an image without a readable file.

    Every file is read once, in a few threads, and not decoded.

    Args:
        dataset: the images
        seed: of the run, from which each image's seed follows
        flipped: for the features of the flipped images
    """
    image_ids = dataset.image_ids

    def key(index: int) -> str | None:
        try:
            content = dataset.image_bytes(index)
        except UnreadableImage:
            return None
        return image_key(content, image_seed(seed, image_ids[index]), flipped=flipped)

    keys: list[str | None] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for block in _blocks(range(len(image_ids))):
            keys += threads.map(key, block)
    return keys


def _blocks(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + _CHUNK_IMAGES] for start in range(0, len(indices), _CHUNK_IMAGES)]
