"""Training from a cache: the samples of a dataset with features instead of images.

dataset (masks) ─┐
                 ├─►  CachedSample ──►  collate_cached ──►  CachedBatch
cache ───────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import NotRequired

from ca_seg.data.collate import Skipped, batch_of
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import BadMask, UnreadableImage, UnusableFeatures
from ca_seg.features.cache import FeatureCache
from ca_seg.features.keys import image_keys


class CachedSample(TypedDict):
    features: Tensor  # float32 [channels, h, w]
    mask: Tensor  # int64 [H, W], class indices, void is IGNORE_INDEX
    image_id: str  # the name of the image in its dataset
    path: str  # of the image
    weight: NotRequired[Tensor]  # float32 [H, W], how much each pixel counts


class CachedBatch(TypedDict):
    features: Tensor  # float32 [B, channels, h, w]; B may be 0 when every image of the batch was skipped
    mask: Tensor  # int64 [B, H, W]
    image_id: list[str]
    path: list[str]
    skipped: list[Skipped]
    weight: NotRequired[Tensor]  # float32 [B, H, W], where the samples have one


class CachedSamples(Dataset):
    """The images of a dataset, represented by their features in a cache; no image is decoded.

    An image without features in the cache, with damaged ones, or with a mask that does not fit is a `Skipped`.

    Args:
        dataset: gives the masks
        cache: gives the features
        seed: the one that the cache was filled with
        flipped: read the features of the flipped images, and flip the masks too
        keys: `FillResult.keys`; None: every image's file is read here once, to identify its features
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        cache: FeatureCache,
        *,
        seed: int = 0,
        flipped: bool = False,
        keys: Sequence[str | None] | None = None,
    ) -> None:
        self.dataset, self.cache, self.flipped = dataset, cache, flipped
        self.keys = image_keys(dataset, seed, flipped=flipped) if keys is None else list(keys)
        self.image_ids = dataset.image_ids
        if len(self.keys) != len(self.image_ids):
            raise ValueError(f"{len(self.keys)} keys for {len(self.image_ids)} images")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> CachedSample | Skipped:
        path, key = self.dataset.image_path(index), self.keys[index]
        if key is None:
            return Skipped(str(path), f"{path} cannot be read")
        try:
            mask = self.dataset.mask(index, *self.cache.size(key))
            features, weight = self.cache.read(key), self.dataset.weight(index)
        except (BadMask, UnreadableImage, UnusableFeatures) as problem:
            return Skipped(str(path), str(problem))
        sample = CachedSample(features=features, mask=mask, image_id=self.image_ids[index], path=str(path))
        if weight is not None:
            sample["weight"] = weight
        if self.flipped:
            sample["mask"] = sample["mask"].flip(-1)
            if "weight" in sample:
                sample["weight"] = sample["weight"].flip(-1)
        return sample

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image, for `SizeBatchSampler`. Raises UnreadableImage if it has no features."""
        key = self.keys[index]
        if key is None or key not in self.cache:
            raise UnreadableImage(f"{self.dataset.image_path(index)} has no features")
        return self.cache.size(key)


def collate_cached(items: Sequence[CachedSample | Skipped]) -> CachedBatch:
    """Items to one batch. Raises BadDataset if the images differ in size (see `SizeBatchSampler`)."""
    return batch_of(items, "features", torch.empty(0, 0, 0, 0))  # type: ignore[return-value]
