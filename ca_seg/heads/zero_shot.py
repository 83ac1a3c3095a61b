"""The decision without training: at every pixel the class with the largest map, bilinear between tokens.

In a large image only the classes that can win somewhere are brought to the image's size. In a cell between four
tokens a class is a mixture of its four corners; it cannot win there if its largest corner is below another's smallest:

    corner scores of one cell     cat   0.6 0.5 0.7 0.6     smallest 0.5
                                  cow   0.2 0.3 0.1 0.2     largest 0.3 < 0.5: not a candidate in this cell
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import max_pool2d, pad

from ca_seg.backbones.images import resize_out

WORTH_PRUNING = 2**24  # scores: below it, all classes are as quick as finding out which matter
MOST_NUMBERS = 2**27  # scores at once (half a gigabyte); a larger image is decided strip by strip


@dataclass(frozen=True)
class MaskPrediction:
    """Class maps [B, K, h, w] decided in an image of height x width pixels."""

    maps: torch.Tensor
    height: int
    width: int

    @cached_property
    def _winners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest score and its class, [B, H, W] each."""
        if self.maps.shape[1] * self.height * self.width < WORTH_PRUNING:
            score, place = self.scores.max(dim=1)
            return score, place
        classes = possible_classes(self.maps)
        few = self.maps[:, classes]
        strips = [scores.max(dim=1) for _, _, scores in predict_mask(few, self.height, self.width).strips(MOST_NUMBERS)]
        return torch.cat([s.values for s in strips], dim=1), classes[torch.cat([s.indices for s in strips], dim=1)]

    def strips(self, most: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Rows `start` to `stop`, and their scores [B, K, stop - start, W]: up to `most` numbers, or one row."""
        rows = max(1, most // (len(self.maps) * self.maps.shape[1] * self.width))
        if rows >= self.height:
            yield 0, self.height, self.scores
            return
        for start in range(0, self.height, rows):
            stop = min(start + rows, self.height)
            yield start, stop, self.rows(start, stop)

    def rows(self, start: int, stop: int, classes: torch.Tensor | None = None) -> torch.Tensor:
        """[B, K, stop - start, W], the scores of some rows; with `classes` [k] of these alone."""
        above, last = self.above[start:stop], self.maps.shape[2] - 1
        top, bottom = int(above[0]), min(int(above[-1]) + 1, last)
        wide = self._wide[:, :, top : bottom + 1]
        wide = wide if classes is None else wide[:, classes]
        share = (self._place[start:stop] - above)[:, None].to(wide)
        if above[0] == above[-1]:
            return torch.lerp(wide[:, :, :1], wide[:, :, -1:], share)
        return torch.lerp(wide[:, :, above - top], wide[:, :, (above + 1).clamp(max=last) - top], share)

    @cached_property
    def above(self) -> torch.Tensor:
        """For every row of pixels the row of tokens that it is at or below: int64 [H], rising, in main memory."""
        return self._place.long()

    @cached_property
    def _place(self) -> torch.Tensor:
        """Where every row of pixels lies among the rows of tokens, [H]."""
        own = self.maps.shape[2]
        return ((torch.arange(self.height) + 0.5) * own / self.height - 0.5).clamp(0, own - 1)

    @cached_property
    def _wide(self) -> torch.Tensor:
        """[B, K, h, W]: brought to the image's width, not yet to its height."""
        return resize_out(self.maps, self.maps.shape[2], self.width)

    @property
    def mask(self) -> torch.Tensor:
        """[B, H, W] class indices."""
        return self._winners[1]

    @property
    def confidence(self) -> torch.Tensor:
        """[B, H, W], the winner's score: its share of the concepts' softmax, 0..1, when maps are shares."""
        return self._winners[0]

    @property
    def scores(self) -> torch.Tensor:
        """[B, K, H, W], all of them: K times the image's pixels."""
        return resize_out(self.maps, self.height, self.width)

    def scores_of(self, classes: torch.Tensor) -> torch.Tensor:
        """[B, len(classes), H, W], of some classes."""
        return resize_out(self.maps[:, classes], self.height, self.width)


def predict_mask(maps: torch.Tensor, height: int, width: int) -> MaskPrediction:
    """Maps [B, K, h, w] to a segmentation of height x width pixels: bilinear, then the largest."""
    return MaskPrediction(maps, height, width)


def possible_classes(maps: torch.Tensor) -> torch.Tensor:
    """The classes, rising, that can have the largest bilinear value somewhere. Maps [B, K, h, w] to [1..K]."""
    return argmax_candidates(maps).flatten(2).any(dim=2).any(dim=0).nonzero().squeeze(1)


def argmax_candidates(maps: torch.Tensor, places: int = 1) -> torch.Tensor:
    """Which classes can be among the `places` largest in each cell between four tokens, bool [B, K, h + 1, w + 1].

    The first and last rows and columns of cells are the image's frame, outside the outermost tokens.
    """
    edged = pad(maps.float(), (1, 1, 1, 1), mode="replicate")  # there the outermost tokens' value goes on
    highest, lowest = max_pool2d(edged, 2, stride=1), -max_pool2d(-edged, 2, stride=1)
    least = lowest.topk(min(places, lowest.shape[1]), dim=1).values[:, -1:] if places > 1 else lowest.amax(1, True)
    return highest >= least
