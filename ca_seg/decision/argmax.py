"""The mask of an image: at every pixel the class with the largest map, bilinear between tokens.

    scores of all classes      how they are computed
    up to 2^24                 all at once
    more                       only classes that can win somewhere (`candidates.py`), row by row
    more than 2^27 of these    only classes that can win in a strip (`strips.py`)

This changes time and memory. Masks are those of resizing everything, up to ties that rounding decides: the last bit of
a score depends on how it is computed, so the limits are part of the result. `benchmarks/decision.py` measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ca_seg.backbones.images import resize_out
from ca_seg.decision.candidates import possible_classes
from ca_seg.decision.rows import ScoreRows, resized_rows
from ca_seg.decision.strips import strips

MIN_SCORES_TO_PRUNE = 2**24  # K * H * W; below it, resizing all classes is as fast as finding the candidates
MAX_RESIZED = 2**27  # scores of candidates


@dataclass(frozen=True)
class MaskPrediction:
    """Class maps [B, K, h, w] and the size of the image in which they are compared."""

    maps: torch.Tensor
    height: int
    width: int

    @property
    def mask(self) -> torch.Tensor:
        """int64 [B, H, W], class indices."""
        return self._winners[1]

    @property
    def confidence(self) -> torch.Tensor:
        """[B, H, W], the score of the winning class; 0..1 where maps are probabilities."""
        return self._winners[0]

    @property
    def scores(self) -> torch.Tensor:
        """[B, K, H, W], the scores of all classes at every pixel."""
        return resize_out(self.maps, self.height, self.width)

    def scores_of(self, classes: torch.Tensor) -> torch.Tensor:
        """[B, k, H, W], the scores of the classes int64 [k]."""
        return resize_out(self.maps[:, classes], self.height, self.width)

    def strips(self, max_scores: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """The image in strips of rows.

        Args:
            max_scores: numbers in the scores of one strip; a strip has at least one row

        Yields:
            The first row, the row after the last, and the scores [B, K, rows, W].
        """
        rows = max(1, max_scores // (len(self.maps) * self.maps.shape[1] * self.width))
        if rows >= self.height:
            yield 0, self.height, self.scores
            return
        for start in range(0, self.height, rows):
            stop = min(start + rows, self.height)
            yield start, stop, self.rows(start, stop)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """[B, K, stop - start, W], the scores of the rows `start` to `stop` (exclusive)."""
        return self._rows.rows(start, stop)

    @cached_property
    def _rows(self) -> ScoreRows:
        return ScoreRows(self.maps, self.height, self.width)

    @cached_property
    def _winners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest score and its class, [B, H, W] each."""
        if self.maps.shape[1] * self.height * self.width < MIN_SCORES_TO_PRUNE:
            score, index = self.scores.max(dim=1)
            return score, index
        size = (len(self.maps), self.height, self.width)
        score = self.maps.new_empty(size)
        index = torch.empty(size, dtype=torch.int64, device=self.maps.device)
        for start, stop, scores, classes in self._pieces():
            best = scores.max(dim=1)
            score[:, start:stop] = best.values
            index[:, start:stop] = classes.index_select(0, best.indices.flatten()).view_as(best.indices)
        return score, index

    def _pieces(self) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor]]:
        """First row, row after the last, the scores [B, k, rows, W] of classes int64 [k] that can win."""
        classes = possible_classes(self.maps)
        maps = self.maps[:, classes]
        if len(maps) * len(classes) * self.height * self.width <= MAX_RESIZED:
            for start, stop, scores in resized_rows(maps, self.height, self.width):
                yield start, stop, scores, classes
        else:
            for strip in strips(maps, self.height, self.width):
                yield strip.start, strip.stop, strip.scores, classes[strip.classes]


def predict_mask(maps: torch.Tensor, height: int, width: int) -> MaskPrediction:
    """The mask of class maps in an image's size: bilinear resize, then the largest score.

    Args:
        maps: [B, K, h, w], on any grid
        height: of the image, in pixels
        width: of the image, in pixels

    Returns:
        An object with `mask`, `confidence` and `scores`, computed when they are first asked for.

    Example:
        >>> mask = predict_mask(maps, *image.shape[-2:]).mask[0]
    """
    return MaskPrediction(maps, height, width)
