"""Images of scenes as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate


def pixels(images: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to [B, 3, H, W] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def resized(images: Tensor, side: int) -> Tensor:
    """Images [B, 3, H, W] at `side` x `side` pixels."""
    return interpolate(images, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
