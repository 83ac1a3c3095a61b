"""Pictures to a multiple of what a network needs, and its answers back to the picture.

The picture is mirrored at its right and lower edge, so its own pixels keep their place and no black border is learnt:

    a b c  ──►  a b c b a      the answer is cut back to the first 3
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange


@dataclass(frozen=True)
class Crop:
    """The way back from a padded picture."""

    height: int
    width: int

    def undo(self, padded: Tensor) -> Tensor:
        """Maps or logits [..., H', W'] of the padded picture to [..., H, W]."""
        return padded[..., : self.height, : self.width]


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, Crop]:
    """[..., H, W] to the next multiples of `multiple` in height and width, by mirroring, and the way back.

    Mirrors as often as needed, so it also works where the padding is wider than the picture (which torch refuses).
    Returns the tensor itself when both sides fit already. Raises OutOfRange for a multiple below 1.
    """
    if multiple < 1:
        raise OutOfRange(f"padding to a multiple of {multiple}", allowed="1 or more")
    height, width = image.shape[-2:]
    for dim, length in ((-2, height), (-1, width)):
        wanted = -(-length // multiple) * multiple
        if wanted > length:
            image = image.index_select(dim, _mirrored(length, wanted).to(image.device))
    return image, Crop(height, width)


def _mirrored(length: int, wanted: int) -> Tensor:
    """Places 0..wanted-1 in a row of `length` that is mirrored again and again: 0 1 2 1 0 1 2 ..."""
    period = max(1, 2 * (length - 1))
    place = torch.arange(wanted) % period
    return torch.minimum(place, period - place) if length > 1 else place
