"""Augmentation of cached features: flip, scale and crop, of a feature map together with its mask.

This is an approximation, because the frozen model saw the whole image, unflipped. Flipped features are not the
features of the flipped image, and an enlarged window of tokens has no more detail than before. (The features of the
flipped image itself can also be cached: `fill(..., flipped=True)`.)

Sizes do not change, so images of one size still share a batch:

    factor 1.6, enlarged                       factor 0.6, made smaller
    ┌──────────┐   window of h / 1.6           ┌──────────┐       ┌──────────┐   h * 0.6 x w * 0.6 tokens somewhere;
    │   ┌────┐ │   x w / 1.6 tokens            │          │       │ ┌────┐   │   around them the mask is void and
    │   │    │ │   ──►  h x w                  │          │  ──►  │ │    │   │   every channel has its own mean
    │   └────┘ │                               │          │       │ └────┘   │
    └──────────┘                               └──────────┘       └──────────┘
"""

from __future__ import annotations

import zlib
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.utils.data import Dataset

from ca_seg.data.collate import Skipped
from ca_seg.errors import OutOfRange
from ca_seg.features.cached import CachedSample
from ca_seg.vocabulary import IGNORE_INDEX

_TIE = 1e-6  # of a pixel: a location on the edge of two belongs to the second, however it is rounded


class View(NamedTuple):
    """What part of an image is shown: location p (0..1 of the view) shows location start + p * extent of the image.

    `extent` is below 1 in an enlarged view, and above 1 in a view that is larger than the image.
    """

    flip: bool
    start: tuple[float, float]  # down, right
    extent: tuple[float, float]


class FeatureAugment:
    """Random views. The same (seed, epoch, image_id) gives the same view, in any order and process.

    Windows begin and end between tokens, so a scale is met to half a token.

    Args:
        seed: of all random numbers
        flip: probability of a left-right flip
        min_scale, max_scale: the scale is uniform on a log scale between them

    Raises:
        OutOfRange: for a probability outside 0..1, or scales that are not positive or not in order
    """

    def __init__(self, seed: int = 0, *, flip: float = 0.5, min_scale: float = 0.5, max_scale: float = 2.0) -> None:
        if not 0 <= flip <= 1:
            raise OutOfRange(f"probability {flip} of a flip", allowed="0 to 1")
        if not 0 < min_scale <= max_scale:
            raise OutOfRange(f"scales from {min_scale} to {max_scale}", allowed="positive, the smaller first")
        self.seed, self.flip, self.min_scale, self.max_scale = seed, flip, min_scale, max_scale

    def __call__(self, features: Tensor, mask: Tensor, *, epoch: int, image_id: str) -> tuple[Tensor, Tensor]:
        """Features float32 [channels, h, w] and mask int64 [H, W] to the same shapes."""
        view = self.view(features.shape[1], features.shape[2], epoch=epoch, image_id=image_id)
        return view_features(features, view), view_mask(mask, view)

    def view(self, h: int, w: int, *, epoch: int, image_id: str) -> View:
        """The view of an image of h x w tokens."""
        draw = np.random.default_rng((self.seed, epoch, zlib.crc32(image_id.encode())))
        flip = bool(draw.random() < self.flip)
        factor = float(np.exp(draw.uniform(np.log(self.min_scale), np.log(self.max_scale))))
        sides = [_side(tokens, factor, float(draw.random())) for tokens in (h, w)]
        return View(flip, (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]))


def view_features(features: Tensor, view: View) -> Tensor:
    """Features [channels, h, w] in a view, bilinear between tokens; outside the image each channel's mean."""
    rows, columns = (_locations(side, view, i) for i, side in enumerate(features.shape[1:]))
    outside = ((rows < 0) | (rows >= 1))[:, None] | ((columns < 0) | (columns >= 1))[None]
    grid = torch.stack(torch.broadcast_tensors(2 * columns[None] - 1, 2 * rows[:, None] - 1), dim=-1)
    seen = grid_sample(features[None], grid[None].to(features), padding_mode="border", align_corners=False)[0]
    return torch.where(outside, features.mean(dim=(1, 2), keepdim=True), seen) if outside.any() else seen


def view_mask(mask: Tensor, view: View) -> Tensor:
    """A mask [H, W] in a view: the nearest pixel, and outside the image void."""
    rows, columns = (_locations(side, view, i) for i, side in enumerate(mask.shape))
    outside = ((rows < 0) | (rows >= 1))[:, None] | ((columns < 0) | (columns >= 1))[None]
    down = (rows * len(rows) + _TIE).long().clamp(0, len(rows) - 1)
    right = (columns * len(columns) + _TIE).long().clamp(0, len(columns) - 1)
    return mask[down[:, None], right[None]].masked_fill(outside, IGNORE_INDEX)


def _side(tokens: int, factor: float, position: float) -> tuple[float, float]:
    """Start and extent of a view along a side of `tokens`, both whole tokens; `position` is 0..1."""
    if factor >= 1:
        window = max(1, round(tokens / factor))
        return round(position * (tokens - window)) / tokens, window / tokens
    small = max(1, round(tokens * factor))
    before = round(position * (tokens - small))
    return -before / small, tokens / small


def _locations(side: int, view: View, axis: int) -> Tensor:
    """The location in the image, 0..1 inside it, of every pixel centre along a side of the view."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    centres = centres.flip(0) if view.flip and axis == 1 else centres
    return view.start[axis] + centres * view.extent[axis]


class HasEpoch(Protocol):
    epoch: int  # such as EpochShuffle, where Lightning sets every new epoch


class AugmentedFeatures(Dataset):
    """Cached samples in random views, another one in each epoch of `order`.

    Workers of a loader get the epoch when they are started, so leave `persistent_workers` off.
    """

    def __init__(self, samples: Dataset, augment: FeatureAugment, order: HasEpoch) -> None:
        self.samples, self.augment, self.order = samples, augment, order

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> CachedSample | Skipped:
        item = self.samples[index]
        if isinstance(item, Skipped):
            return item
        h, w = item["features"].shape[1:]
        view = self.augment.view(h, w, epoch=self.order.epoch, image_id=item["image_id"])
        seen = item | {"features": view_features(item["features"], view), "mask": view_mask(item["mask"], view)}
        return seen | {"weight": view_mask(item["weight"], view)} if "weight" in item else seen
