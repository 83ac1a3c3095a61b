"""Undoes what a trainer does to its images: from normalised and padded batches to images as a backbone records them.

    image, RGB or BGR, 0..255    ──►  (x - mean) / std  ──►  zeros below and to the right, to the batch's size
    RGB, 0..1, its own size      ◄──────────────────── undone here ────────────────────────────────┘

Every image token would attend to the padding, so an image's features would depend on the other images of its batch.
Padding is cut off instead. It is exactly 0, and no 8-bit colour is 0 where the mean is not a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ca_seg.errors import OutOfRange, UnknownName

ORDERS = ("RGB", "BGR")


@dataclass(frozen=True)
class Normalised:
    """How a trainer changed its images.

    Args:
        order: of the channels, "RGB" or "BGR"
        mean: of each channel, in that order, on the scale 0..255
        std: deviation of each channel

    Raises:
        UnknownName: for another order
        OutOfRange: for other than three numbers, a deviation of 0 or less, or means that are all whole, as [0, 0, 0]:
            a black border of an image could then not be told from padding
    """

    order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise UnknownName("order of channels", self.order, ORDERS)
        for what, values in (("means", self.mean), ("deviations", self.std)):
            if len(values) != 3:
                raise OutOfRange(f"{len(values)} {what} of channels", allowed="three")
        if min(self.std) <= 0:
            raise OutOfRange(f"deviations {list(self.std)} of channels", allowed="numbers above 0")
        if all(float(value).is_integer() for value in self.mean):
            raise OutOfRange(
                f"means {list(self.mean)} of channels",
                allowed="one or more that are not whole, so that padding, which is 0, is no colour",
                fix="[127.5, 127.5, 127.5] serves",
            )

    def images(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """A batch [B, 3, H, W] to B images, float32 [3, h, w] in 0..1, RGB, without their padding."""
        mean, std = (torch.tensor(v, device=batch.device, dtype=torch.float32) for v in (self.mean, self.std))
        colours = ((batch.float() * std[:, None, None] + mean[:, None, None]) / 255).clamp(0, 1)
        colours = colours.flip(1) if self.order == "BGR" else colours
        return [image[:, : size[0], : size[1]] for image, size in zip(colours, map(_extent, batch != 0), strict=True)]


def _extent(nonzero: torch.Tensor) -> tuple[int, int]:
    """Height and width up to the last row and column of bool [3, H, W] that are not all False."""
    rows, columns = (nonzero.any(dim=0).any(dim=dim).nonzero() for dim in (1, 0))
    if not len(rows):
        return int(nonzero.shape[1]), int(nonzero.shape[2])  # an image of one colour, which is the mean
    return int(rows[-1]) + 1, int(columns[-1]) + 1
