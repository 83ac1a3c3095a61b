"""The classes that can win, strip by strip: an image of any size takes the memory of one strip of class scores.

A strip lies between two rows of tokens and holds the classes that can be among the best there:

    tokens   o---o---o---o      of 20 classes perhaps 5 can be first or second between these rows
             |   strip   |
             o---o---o---o

On a CPU a strip's scores fit into its cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from ca_seg.decision.candidates import argmax_candidates
from ca_seg.decision.rows import ScoreRows

# Tuned with benchmarks/decision.py and benchmarks/label.py.
CACHED_SCORES = 2**18  # scores of a strip on a CPU
MAX_SCORES = 2**27  # scores at a time elsewhere, and in all: half a gigabyte


@dataclass(frozen=True)
class Strip:
    """Some rows of an image and the classes that can be among the best in them."""

    start: int  # first row
    stop: int  # the row after the last
    scores: torch.Tensor  # [B, k, rows, W]
    classes: torch.Tensor  # int64 [k], rising


def strips(maps: torch.Tensor, height: int, width: int, *, rank: int = 1) -> Iterator[Strip]:
    """The image from top to bottom, with the classes that can be among the `rank` best in each strip.

    Args:
        maps: [B, K, h, w]
        height: of the image, in pixels
        width: of the image, in pixels
        rank: 1: classes that can win; 2: classes that can win or come second
    """
    rows = ScoreRows(maps, height, width)
    possible = argmax_candidates(maps, rank).any(dim=0).any(dim=2).cpu()  # [K, h + 1]: by row of cells, with the frame
    upper = rows.upper_token_row
    if maps.device.type != "cpu":  # few, large strips keep a GPU busy
        classes = possible.any(dim=1).nonzero()[:, 0].to(maps.device)
        for start, stop in _cut(0, height, MAX_SCORES // (len(maps) * len(classes) * width)):
            yield Strip(start, stop, rows.rows(start, stop, classes), classes)
        return
    for top, bottom in pairwise([0, *((upper[1:] != upper[:-1]).nonzero()[:, 0] + 1).tolist(), height]):
        classes = possible[:, int(upper[top]) + 1].nonzero()[:, 0]
        above, below = rows.token_rows(int(upper[top]), classes)
        for start, stop in _cut(top, bottom, CACHED_SCORES // (len(maps) * len(classes) * width)):
            yield Strip(start, stop, torch.lerp(above, below, rows.weight(start, stop)), classes)


def _cut(start: int, stop: int, rows: int) -> Iterator[tuple[int, int]]:
    """Pieces of up to `rows` rows, 1 or more."""
    rows = max(1, rows)
    for first in range(start, stop, rows):
        yield first, min(first + rows, stop)
