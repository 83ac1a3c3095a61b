"""Augmentation for training a head: random scale, crop, flip and light colour changes, on image and mask together."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ca_seg.data.batches import EpochShuffle
from ca_seg.data.collate import Sample, Skipped
from ca_seg.errors import OutOfRange
from ca_seg.vocabulary import IGNORE_INDEX

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version
import albumentations as A


class Augment:
    """A random view of an image and its mask, `crop` x `crop` pixels.

    Scale 0.5 to 2; a crop (a smaller image is padded: black in the image, void in the mask); a flip left-right in half
    of the cases; brightness, contrast and saturation within 20 %; hue within 5 %. Mask labels are moved and never
    mixed.

    Args:
        crop: side of the view in pixels. Raises OutOfRange below 1
    """

    def __init__(self, crop: int) -> None:
        if crop < 1:
            raise OutOfRange(f"crops of {crop} pixels", allowed="1 or more")
        self.crop = crop
        within_20_percent = (0.8, 1.2)
        self.pipeline = A.Compose(
            [
                A.RandomScale(scale_limit=(-0.5, 1.0), p=1.0),
                A.PadIfNeeded(crop, crop, position="random", border_mode=0, fill=0, fill_mask=IGNORE_INDEX),
                A.RandomCrop(crop, crop),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(
                    brightness=within_20_percent,
                    contrast=within_20_percent,
                    saturation=within_20_percent,
                    hue=(-0.05, 0.05),
                    p=0.8,
                ),
            ],
            additional_targets={"weight": "mask"},
        )

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """A view; the same seed gives the same view.

        Args:
            image: float [3, H, W] in 0..1
            mask: int64 [H, W]
            seed: of the randomness

        Returns:
            the image [3, crop, crop] and the mask [crop, crop]
        """
        view, labels, _ = self.weighted(image, mask, torch.ones(mask.shape), seed)
        return view, labels

    def weighted(self, image: Tensor, mask: Tensor, weight: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same with a float32 weight [H, W] that moves with its pixels. In the padding it means nothing."""
        self.pipeline.set_random_seed(seed)
        pixels, labels = image.permute(1, 2, 0).contiguous().numpy(), mask.numpy().astype(np.uint8)
        view = self.pipeline(image=pixels, mask=labels, weight=weight.numpy())
        colours = torch.from_numpy(np.ascontiguousarray(view["image"])).permute(2, 0, 1).contiguous()
        weights = torch.from_numpy(np.ascontiguousarray(view["weight"]))
        return colours.clamp(0, 1), torch.from_numpy(view["mask"].astype(np.int64)), weights


class Samples(Protocol):
    """A dataset of a known length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample | Skipped: ...


class Augmented(Dataset):
    """A dataset of random views, another one in each epoch of `order`.

    The same (seed, epoch, index) gives the same view, in any order and process. Workers of a loader get the epoch when
    they are started, so leave `persistent_workers` off.

    Args:
        dataset: gives a Sample or Skipped per index
        augment: makes the view
        seed: of the views
        order: knows the epoch
    """

    def __init__(self, dataset: Samples, augment: Augment, seed: int, order: EpochShuffle) -> None:
        self.dataset, self.augment, self.seed, self.order = dataset, augment, seed, order

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | Skipped:
        item = self.dataset[index]
        if isinstance(item, Skipped):
            return item
        seed = int(np.random.SeedSequence((self.seed, self.order.epoch, index)).generate_state(1)[0])
        view = Sample(image=item["image"], mask=item["mask"], image_id=item["image_id"], path=item["path"])
        if "weight" in item:
            views = self.augment.weighted(item["image"], item["mask"], item["weight"], seed)
            view["image"], view["mask"], view["weight"] = views
        else:
            view["image"], view["mask"] = self.augment(item["image"], item["mask"], seed)
        return view
