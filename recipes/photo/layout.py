"""How the pictures of a training step are laid out on its grid of tokens.

Four kinds of layout, 20 x 20 or 10 x 10 tokens, chosen by the step. A quilt is four pictures side by side, each with
its own words: tokens then learn to read their own place, not the whole picture (attention is global).

    quilt of wholes   four pictures of 10 x 10 tokens (stride 32)
    quilt of crops    a 10 x 10 window of each of four pictures of 20 x 20 tokens (stride 16)
    fine              one picture of 20 x 20 tokens
    coarse            one picture of 10 x 10 tokens
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from recipes.photo.pictures import TOKENS

HALF = TOKENS // 2  # along a side of a quarter of a quilt, and of a coarse picture


@dataclass(frozen=True)
class Cut:
    """Pictures of one step, laid out: how to bring any map of whole pictures to the same layout."""

    layout: str
    windows: np.ndarray  # [P, 2] top and left of a crop, in tokens of 20 x 20
    flipped: torch.Tensor  # bool [P]

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [P, C, 20, 20] of whole pictures to [B, C, h, w]."""
        maps = self.pictures(maps)
        return quilt(maps) if self.layout.startswith("quilt") else maps

    def pictures(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [P, C, S, S] of whole pictures to what the step sees of each picture: [P, C, S, S] or half as large."""
        maps = torch.where(self.flipped[:, None, None, None], maps.flip(-1), maps)
        if self.layout == "fine":
            return maps
        if self.layout != "quilt of crops":
            return avg_pool2d(maps, 2)
        half, corners = maps.shape[-1] // 2, self.windows * maps.shape[-1] // TOKENS
        return torch.stack([m[:, y : y + half, x : x + half] for m, (y, x) in zip(maps, corners.tolist(), strict=True)])


def unquilt(maps: torch.Tensor, pictures: int) -> torch.Tensor:
    """[B, C, h, w] to the maps of each of its pictures [P, C, ...]: the way back from `quilt` where P is 4B."""
    if pictures == len(maps):
        return maps
    return maps.unflatten(3, (2, -1)).unflatten(2, (2, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def quilt(maps: torch.Tensor) -> torch.Tensor:
    """[4B, C, h, w] to [B, C, 2h, 2w]: four after each other are put side by side."""
    parts = maps.unflatten(0, (-1, 2, 2))
    return parts.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
