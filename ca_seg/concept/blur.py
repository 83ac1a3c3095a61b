"""Maps smoothed with a Gaussian of 3 x 3 tokens and sigma 1, as the ConceptAttention reference code smooths them."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, pad

SIGMA = 1.0  # tokens


def blurred(maps: torch.Tensor, size: int = 3, sigma: float = SIGMA) -> torch.Tensor:
    """Each map [..., h, w] smoothed; at the border the map is mirrored. Probabilities stay probabilities.

    Args:
        maps: float, with frames before h for a video: each frame is smoothed by itself
        size: tokens of a side of the kernel, odd
        sigma: of the Gaussian, in tokens
    """
    half = size // 2
    line = torch.exp(-(torch.arange(-half, half + 1, device=maps.device, dtype=maps.dtype) ** 2) / (2 * sigma**2))
    kernel = line[:, None] * line / line.sum() ** 2
    images = maps.reshape(-1, 1, *maps.shape[-2:])
    mode = "reflect" if min(maps.shape[-2:]) > half else "replicate"
    return conv2d(pad(images, (half, half, half, half), mode=mode), kernel[None, None]).reshape(maps.shape)
