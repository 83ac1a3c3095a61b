"""The region of an edit: a mask that has grown, and fades out inside itself.

mask                 . . . # # # . . .
grown by 2           . # # # # # # # .
weight, feather 1    0 ½ 1 1 1 1 1 ½ 0        of the edited picture; 0: the photograph's own bytes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import adaptive_max_pool2d


@dataclass(frozen=True, eq=False)
class Region:
    """Where a photograph is edited.

    Args:
        inside: bool [H, W], in the size of the photograph
        feather: over so many pixels at the rim of the region, and inside it, the photograph fades into the edit
    """

    inside: np.ndarray
    feather: int = 0

    @property
    def weights(self) -> np.ndarray:
        """The share of the edited picture in each pixel, float32 [H, W]: 0 outside, 1 deep inside."""
        total = np.zeros(self.inside.shape, np.float32)
        for pixels in range(self.feather + 1):
            total += ~grown(~self.inside, pixels)
        return total / (self.feather + 1)

    def in_size(self, height: int, width: int) -> np.ndarray:
        """Bool [height, width]: every cell of the new grid that holds a pixel of the region."""
        return any_inside(torch.from_numpy(self.inside), height, width).numpy()

    def paste(self, photograph: np.ndarray, edited: np.ndarray) -> np.ndarray:
        """`edited` inside the region, `photograph` byte for byte outside; all of them uint8 [H, W, 3]."""
        weights, result = self.weights[self.inside][:, None], photograph.copy()
        blended = weights * edited[self.inside] + (1 - weights) * photograph[self.inside]
        result[self.inside] = blended.round().astype(np.uint8)
        return result


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A bool mask [H, W] with all that is at most `pixels` rows and `pixels` columns away from it."""
    for axis in (0, 1):
        side = mask.shape[axis]
        none = np.zeros_like(mask.take([0], axis), np.int32)
        counts = np.concatenate([none, mask.cumsum(axis, dtype=np.int32)], axis)  # of pixels before each edge
        edges = np.arange(side)
        behind, before = (edges + pixels + 1).clip(max=side), (edges - pixels).clip(min=0)
        mask = counts.take(behind, axis) > counts.take(before, axis)
    return mask


def any_inside(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A bool mask [H, W] on another grid [height, width]: a cell is inside where any pixel in it is."""
    return adaptive_max_pool2d(mask[None, None].float(), (height, width))[0, 0] > 0
