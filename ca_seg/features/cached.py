"""Training from a cache: the samples of a dataset with features in the place of pictures.

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
from ca_seg.features.keys import picture_keys


class CachedSample(TypedDict):
    features: Tensor  # float32 [channels, h, w]
    mask: Tensor  # int64 [H, W], class indices, 255 is void
    stem: str  # the name of the picture in its dataset
    path: str  # of the picture
    weight: NotRequired[Tensor]  # float32 [H, W], how much each pixel counts


class CachedBatch(TypedDict):
    features: Tensor  # float32 [B, channels, h, w]; B may be 0 when every picture of the batch was skipped
    mask: Tensor  # int64 [B, H, W]
    stem: list[str]
    path: list[str]
    skipped: list[Skipped]
    weight: NotRequired[Tensor]  # float32 [B, H, W], where the samples have one


class CachedSamples(Dataset):
    """The pictures of `dataset` by their features in `cache`, their masks from the dataset; no picture is decoded.

    `seed` and `mirrored` are those that the cache was filled with; with `mirrored` the mask is mirrored too. `keys` are
    `Filled.keys`; left out, every picture's file is read here once, to know which features are its own. A picture
    without features in the cache, with damaged ones, or with a mask that does not fit is a `Skipped`.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        cache: FeatureCache,
        *,
        seed: int = 0,
        mirrored: bool = False,
        keys: Sequence[str | None] | None = None,
    ) -> None:
        self.dataset, self.cache, self.mirrored = dataset, cache, mirrored
        self.keys = picture_keys(dataset, seed, mirrored=mirrored) if keys is None else list(keys)
        self.stems = dataset.stems
        if len(self.keys) != len(self.stems):
            raise ValueError(f"{len(self.keys)} keys for {len(self.stems)} pictures")

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
        sample = CachedSample(features=features, mask=mask, stem=self.stems[index], path=str(path))
        if weight is not None:
            sample["weight"] = weight
        if self.mirrored:
            sample |= {name: sample[name].flip(-1) for name in ("mask", "weight") if name in sample}
        return sample

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a picture, for `SizeBatchSampler`. Raises UnreadableImage for one without features."""
        key = self.keys[index]
        if key is None or key not in self.cache:
            raise UnreadableImage(f"{self.dataset.image_path(index)} has no features")
        return self.cache.size(key)


def collate_cached(items: Sequence[CachedSample | Skipped]) -> CachedBatch:
    """Items to one batch. Raises BadDataset when the pictures are not of one size (see `SizeBatchSampler`)."""
    return batch_of(items, "features", torch.empty(0, 0, 0, 0))  # type: ignore[return-value]
