"""Augmentation for training a head: random scale, crop, flip and light colour changes, on image and mask together."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ca_seg.data.collate import Sample, Skipped
from ca_seg.errors import OutOfRange
from ca_seg.vocabulary import IGNORE_INDEX

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version
import albumentations as A


class Augment:
    """An image and its mask to a random `crop` x `crop` view of both.

    Scale 0.5 to 2, crop (a smaller image is padded: black in the image, void in the mask), flip left-right in half
    of the cases, brightness, contrast and saturation within 20 %, hue within 5 %. The same `draw` gives the same view.
    Mask labels are only moved, never mixed.
    """

    def __init__(self, crop: int) -> None:
        if crop < 1:
            raise OutOfRange(f"crops of {crop} pixels", allowed="1 or more")
        self.crop = crop
        near = (0.8, 1.2)
        self.pipeline = A.Compose(
            [
                A.RandomScale(scale_limit=(-0.5, 1.0), p=1.0),
                A.PadIfNeeded(crop, crop, position="random", border_mode=0, fill=0, fill_mask=IGNORE_INDEX),
                A.RandomCrop(crop, crop),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(brightness=near, contrast=near, saturation=near, hue=(-0.05, 0.05), p=0.8),
            ],
            additional_targets={"weight": "mask"},
        )

    def __call__(self, image: Tensor, mask: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """float [3, H, W] in 0..1 and int64 [H, W] to [3, crop, crop] and [crop, crop]."""
        seen, labels, _ = self.weighted(image, mask, torch.ones(mask.shape), draw)
        return seen, labels

    def weighted(self, image: Tensor, mask: Tensor, weight: Tensor, draw: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same with a float32 weight [H, W], which moves with its pixels; outside the image it means nothing."""
        self.pipeline.set_random_seed(draw)
        pixels, labels = image.permute(1, 2, 0).contiguous().numpy(), mask.numpy().astype(np.uint8)
        view = self.pipeline(image=pixels, mask=labels, weight=weight.numpy())
        colours = torch.from_numpy(np.ascontiguousarray(view["image"])).permute(2, 0, 1).contiguous()
        counts = torch.from_numpy(np.ascontiguousarray(view["weight"]))
        return colours.clamp(0, 1), torch.from_numpy(view["mask"].astype(np.int64)), counts


class Augmented(Dataset):
    """A dataset seen through `augment`, a new view each time an image is asked for.

    The draws follow from `seed` when there are no workers, and otherwise from each worker's own seed (which the loader
    draws from its generator): left to itself, every worker would get a copy of one random state and see the same views.
    """

    def __init__(self, dataset: Dataset, augment: Augment, seed: int) -> None:
        self.dataset, self.augment, self.seed = dataset, augment, seed
        self._drawing: tuple[int, torch.Generator] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | Skipped:
        item = self.dataset[index]
        if isinstance(item, Skipped):
            return item
        seen = Sample(image=item["image"], mask=item["mask"], image_id=item["image_id"], path=item["path"])
        if "weight" not in item:
            seen["image"], seen["mask"] = self.augment(item["image"], item["mask"], self._draw())
            return seen
        moved = self.augment.weighted(item["image"], item["mask"], item["weight"], self._draw())
        seen["image"], seen["mask"], seen["weight"] = moved
        return seen

    def _draw(self) -> int:
        worker = get_worker_info()
        seed = self.seed if worker is None else worker.seed
        if self._drawing is None or self._drawing[0] != seed:
            self._drawing = seed, torch.Generator().manual_seed(seed)
        return int(torch.randint(2**31, (), generator=self._drawing[1]))
