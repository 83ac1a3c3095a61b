"""The mean and the highest score of each class over an image, from its class maps, without resizing them.

A resized pixel is a weighted mean of tokens, and its weight is that of its row times that of its column. So the mean
over pixels is a weighted mean of tokens. Between four tokens the scores rise or fall evenly along rows and columns, so
the highest of the pixels there is one of the four outermost:

    o-----------o
    | x . . . x |      o tokens
    | . . . . . |      . pixels
    | x . . . x |      x the pixels that can be the highest
    o-----------o
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def class_scores(maps: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the highest score of each class over all pixels.

    Args:
        maps: [K, h, w]
        height: of the image, in pixels
        width: of the image, in pixels

    Returns:
        Means and highest scores, float64 [K] each.
    """
    exact = maps.detach().cpu().double()
    if exact.shape[1:] == (height, width):
        return exact.mean(dim=(1, 2)), exact.amax(dim=(1, 2))
    rows, columns = _weights(exact.shape[1], height), _weights(exact.shape[2], width)
    mean = rows.mean(dim=0) @ exact @ columns.mean(dim=0)
    outermost = _outermost(rows) @ exact @ _outermost(columns).T
    return mean, outermost.amax(dim=(1, 2))


def _weights(tokens: int, pixels: int) -> torch.Tensor:
    """How much each token counts in each pixel of a line, float64 [pixels, tokens]."""
    identity = torch.eye(tokens, dtype=torch.float64)[None]
    return interpolate(identity, pixels, mode="linear", align_corners=False)[0].T


def _outermost(weights: torch.Tensor) -> torch.Tensor:
    """The first and the last pixel between each two tokens."""
    token = weights.ne(0).int().argmax(dim=1)
    changes = token[1:] != token[:-1]
    ends = torch.ones(1, dtype=torch.bool)
    return weights[torch.cat([ends, changes]) | torch.cat([changes, ends])]
