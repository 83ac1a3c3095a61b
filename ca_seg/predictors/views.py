"""Several views of one image, at other scales or in overlapping windows, and the mean of their scores.

image   ──► scale 0.75 ──► whole, or windows ──► scores, resized ┐
        ──► scale 1    ──► whole, or windows ──► scores          ┤ mean
        ──► scale 1.25 ──► whole, or windows ──► scores, resized ┘

windows of 6, stride 4, along a side of 11:     [0 .. 5]
                                                    [4 .. 9]
                                                     [5 .. 10]      the last is moved back to end at the border
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange, UserError

MAX_VIEWS = 10_000  # of one image
Predict = Callable[[Tensor], Tensor]  # images [B, 3, H, W] to scores [B, K, h, w] on any grid


@dataclass(frozen=True)
class Views:
    """Which views to take; by default one, the image itself. The work grows as len(scales) * windows.

    Args:
        scales: sizes relative to the image, each above 0 and at most 8
        window: the side of a square window in pixels of the scaled image; None: the whole image. A side of the image
            that is shorter than the window is taken whole.
        stride: pixels from window to window; None: half a window
        multiple: scaled images are rounded to multiples of so many pixels, for backbones that take no others; a window
            has at least as many

    Raises:
        OutOfRange: for options that leave no view
    """

    scales: Sequence[float] = (1.0,)
    window: int | None = None
    stride: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 8 for scale in self.scales):
            raise OutOfRange(f"scales {tuple(self.scales)}", allowed="one or more, each above 0 and at most 8")
        if self.multiple < 1:
            raise OutOfRange(f"a multiple of {self.multiple} pixels", allowed="1 or more")
        if self.window is not None and self.window < self.multiple:
            raise OutOfRange(f"a window of {self.window} pixels", allowed=f"{self.multiple} or more, or none")
        if self.stride is None:
            return
        if self.window is None:
            raise OutOfRange(f"a stride of {self.stride} without windows", fix="give window too")
        if not 1 <= self.stride <= self.window:
            raise OutOfRange(
                f"a stride of {self.stride} for windows of {self.window}", allowed="1 to the window's side"
            )


def predict_views(predict: Predict, images: Tensor, views: Views) -> Tensor:
    """The mean scores over all views. Every view has the same weight, and in a view every window that covers a pixel.

    Memory: two maps of the size of the result, and one view's.

    Args:
        predict: scores [B, K, h, w] on any grid for one view of the whole batch; they are resized (bilinear) to the
            view and then to the image, so probabilities stay probabilities
        images: float [B, 3, H, W] in 0..1
        views: which views to take

    Returns:
        [B, K, H, W]

    Raises:
        UserError: for images of another shape, and for scores that are not [B, K, h, w]
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(f"images of shape {tuple(images.shape)}, {images.dtype}", allowed="float [B, 3, H, W]")
    height, width = images.shape[-2:]
    _check_count(height, width, views)
    total: Tensor | None = None
    for scale in views.scales:
        scores = resize_maps(_windowed(predict, scaled(images, scale, views.multiple), views), height, width)
        total = scores if total is None else total + scores
    assert total is not None
    return total / len(views.scales)


def _check_count(height: int, width: int, views: Views) -> None:
    """Raises OutOfRange for more windows than anyone waits for: windows of one pixel would take days."""
    count = 0
    for scale in views.scales:
        sides = [max(views.multiple, round(side * scale / views.multiple) * views.multiple) for side in (height, width)]
        if views.window is None:
            count += 1
        else:
            stride = views.stride or max(1, views.window // 2)
            count += math.prod(1 + -(-max(0, side - views.window) // stride) for side in sides)
    if count > MAX_VIEWS:
        raise OutOfRange(
            f"{count:,} windows of {views.window} pixels in an image of {width} x {height}",
            allowed=f"{MAX_VIEWS:,}, each of which is an image for the model",
            fix="give a larger window, or a larger stride",
        )


def scaled(images: Tensor, scale: float, multiple: int) -> Tensor:
    """Images [B, 3, H, W] at a scale, with sides of a multiple of so many pixels, 0..1."""
    size = [max(multiple, round(side * scale / multiple) * multiple) for side in images.shape[-2:]]
    if list(images.shape[-2:]) == size:
        return images
    return interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _windowed(predict: Predict, view: Tensor, views: Views) -> Tensor:
    """Scores of one view [B, K, H, W]: of the whole, or the mean over windows."""
    height, width = view.shape[-2:]
    if views.window is None or (height <= views.window and width <= views.window):
        return _predicted(predict, view)
    stride = views.stride or max(1, views.window // 2)
    total: Tensor | None = None
    counts = torch.zeros(height, width, device=view.device)
    for rows in windows(height, views.window, stride):
        for columns in windows(width, views.window, stride):
            scores = _predicted(predict, view[..., rows, columns])
            if total is None:
                total = scores.new_zeros(*scores.shape[:2], height, width)
            total[..., rows, columns] += scores
            counts[rows, columns] += 1
    assert total is not None
    return total / counts.to(total)


def windows(side: int, window: int, stride: int) -> Iterator[slice]:
    """The windows along one side. They cover all of it; the last one ends where the side ends."""
    last = max(0, side - window)
    for start in [*range(0, last, stride), last]:
        yield slice(start, min(start + window, side))


def _predicted(predict: Predict, view: Tensor) -> Tensor:
    scores = predict(view)
    if scores.ndim != 4 or len(scores) != len(view) or not scores.is_floating_point():
        raise UserError(
            f"scores of shape {tuple(scores.shape)}, {scores.dtype} for {len(view)} images",
            allowed=f"float [{len(view)}, K, h, w]",
        )
    return resize_maps(scores if scores.dtype == torch.float64 else scores.float(), view.shape[-2], view.shape[-1])
