"""The grid of the image tokens: which token is where in the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Grid:
    """Tokens in reading order: frame by frame, row by row. Images have one frame and need not be square.

    height 2, width 3:   0 1 2
                         3 4 5
    """

    height: int
    width: int
    frames: int = 1

    @property
    def tokens(self) -> int:
        """How many there are."""
        return self.frames * self.height * self.width

    def unflatten(self, scores: torch.Tensor) -> torch.Tensor:
        """[..., N] to [..., h, w], or [..., frames, h, w] for a video."""
        shape = (self.height, self.width) if self.frames == 1 else (self.frames, self.height, self.width)
        return scores.unflatten(-1, shape)
