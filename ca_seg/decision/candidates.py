"""Which classes can win somewhere in an image, found on the grid of tokens before anything is resized.

The value of a class in a cell between four tokens is a mixture of its values at the four corners. The class cannot win
in that cell if its largest corner is below the smallest corner of another class:

    corner scores of one cell     cat   0.6 0.5 0.7 0.6     smallest 0.5
                                  cow   0.2 0.3 0.1 0.2     largest 0.3 < 0.5: not a candidate in this cell
"""

from __future__ import annotations

import torch
from torch.nn.functional import max_pool2d, pad


def possible_classes(maps: torch.Tensor, rank: int = 1) -> torch.Tensor:
    """The classes that can be among the `rank` largest bilinear values somewhere.

    Args:
        maps: float [B, K, h, w]
        rank: as for `argmax_candidates`

    Returns:
        int64 [n], 1 or more class indices, rising.
    """
    return argmax_candidates(maps, rank).flatten(2).any(dim=2).any(dim=0).nonzero().squeeze(1)


def argmax_candidates(maps: torch.Tensor, rank: int = 1) -> torch.Tensor:
    """The classes that can be among the `rank` largest in each cell between four tokens.

    Args:
        maps: float [B, K, h, w]
        rank: 1: classes that can win; 2: classes that can win or come second

    Returns:
        bool [B, K, h + 1, w + 1]. The first and last rows and columns of cells are the frame of the image, outside the
        outermost tokens, where the bilinear resize repeats the outermost values.
    """
    framed = pad(maps.float(), (1, 1, 1, 1), mode="replicate")
    highest, lowest = max_pool2d(framed, 2, stride=1), -max_pool2d(-framed, 2, stride=1)
    bound = lowest.topk(min(rank, lowest.shape[1]), dim=1).values[:, -1:] if rank > 1 else lowest.amax(1, True)
    return highest >= bound
