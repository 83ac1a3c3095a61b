"""Augmentation of cached features: flip, scale and crop, of a feature map and its mask together.

An approximation, for the frozen model saw the whole image, unflipped: flipped features are not the features of the
flipped image, and an enlarged window of tokens has no more detail than it had. (The features of the flipped image
itself can be cached beside the others: `fill(..., flipped=True)`.)

Sizes stay as they were, so that images of one size still share a batch:

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

_TIE = 1e-6  # of a pixel: a place on the edge of two belongs to the second, whatever rounding says


class View(NamedTuple):
    """What is seen: along each side, place p (0..1 of the view) shows place start + p * extent of the image.

    `extent` is below 1 where the view is enlarged, and above 1 where it shows more than the image has.
    """

    flip: bool
    start: tuple[float, float]  # down, right
    extent: tuple[float, float]


class FeatureAugment:
    """Random views; the same (seed, epoch, stem) gives the same view, in whatever order and process.

    Flipped left-right with probability `flip`; scaled by a factor that is uniform on a log scale between `least` and
    `most`. Windows begin and end between tokens, so a factor is met to half a token. Raises OutOfRange.
    """

    def __init__(self, seed: int = 0, *, flip: float = 0.5, least: float = 0.5, most: float = 2.0) -> None:
        if not 0 <= flip <= 1:
            raise OutOfRange(f"probability {flip} of a flip", allowed="0 to 1")
        if not 0 < least <= most:
            raise OutOfRange(f"scales from {least} to {most}", allowed="positive, the smaller first")
        self.seed, self.flip, self.least, self.most = seed, flip, least, most

    def __call__(self, features: Tensor, mask: Tensor, *, epoch: int, image_id: str) -> tuple[Tensor, Tensor]:
        """float32 [channels, h, w] and int64 [H, W] to the same shapes."""
        view = self.view(features.shape[1], features.shape[2], epoch=epoch, image_id=image_id)
        return see_features(features, view), see_mask(mask, view)

    def view(self, h: int, w: int, *, epoch: int, image_id: str) -> View:
        """The view of an image of h x w tokens."""
        draw = np.random.default_rng((self.seed, epoch, zlib.crc32(image_id.encode())))
        flip = bool(draw.random() < self.flip)
        factor = float(np.exp(draw.uniform(np.log(self.least), np.log(self.most))))
        sides = [_side(tokens, factor, float(draw.random())) for tokens in (h, w)]
        return View(flip, (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]))


def see_features(features: Tensor, view: View) -> Tensor:
    """Features [channels, h, w] in a view, bilinear between tokens; outside the image a channel's mean."""
    rows, columns = (_places(side, view, i) for i, side in enumerate(features.shape[1:]))
    outside = ((rows < 0) | (rows >= 1))[:, None] | ((columns < 0) | (columns >= 1))[None]
    grid = torch.stack(torch.broadcast_tensors(2 * columns[None] - 1, 2 * rows[:, None] - 1), dim=-1)
    seen = grid_sample(features[None], grid[None].to(features), padding_mode="border", align_corners=False)[0]
    return torch.where(outside, features.mean(dim=(1, 2), keepdim=True), seen) if outside.any() else seen


def see_mask(mask: Tensor, view: View) -> Tensor:
    """A mask [H, W] in a view: each pixel is that of the image it falls in, and outside the image void."""
    rows, columns = (_places(side, view, i) for i, side in enumerate(mask.shape))
    outside = ((rows < 0) | (rows >= 1))[:, None] | ((columns < 0) | (columns >= 1))[None]
    down = (rows * len(rows) + _TIE).long().clamp(0, len(rows) - 1)
    right = (columns * len(columns) + _TIE).long().clamp(0, len(columns) - 1)
    return mask[down[:, None], right[None]].masked_fill(outside, IGNORE_INDEX)


def _side(tokens: int, factor: float, where: float) -> tuple[float, float]:
    """Start and extent of a view along a side of `tokens`, both whole tokens; `where` is 0..1."""
    if factor >= 1:
        window = max(1, round(tokens / factor))
        return round(where * (tokens - window)) / tokens, window / tokens
    small = max(1, round(tokens * factor))
    before = round(where * (tokens - small))
    return -before / small, tokens / small


def _places(side: int, view: View, axis: int) -> Tensor:
    """The place in the image, 0..1 inside it, of every centre along a side of the view."""
    own = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    own = own.flip(0) if view.flip and axis == 1 else own
    return view.start[axis] + own * view.extent[axis]


class HasEpoch(Protocol):
    epoch: int  # such as EpochShuffle, to which Lightning tells every new epoch


class AugmentedFeatures(Dataset):
    """Cached samples seen through `augment`, another view in each epoch of `order`.

    Workers of a loader get the epoch when they are started: leave `persistent_workers` off.
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
        seen = item | {"features": see_features(item["features"], view), "mask": see_mask(item["mask"], view)}
        return seen | {"weight": see_mask(item["weight"], view)} if "weight" in item else seen
