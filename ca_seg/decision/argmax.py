"""The mask of an image: at every pixel the class with the largest map, bilinear between tokens.

In a large image only the classes that can win somewhere (`candidates.py`) are resized to the image's size, strip by
strip. This changes nothing but time and memory; `benchmarks/evaluation.py` and `benchmarks/label.py`
measure what it costs beside the backbone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ca_seg.backbones.images import resize_out
from ca_seg.decision.candidates import possible_classes

# Tuned with benchmarks/evaluation.py: below this number of scores [B, K, H, W], resizing all classes is as fast as
# finding the candidates.
MIN_SCORES_TO_PRUNE = 2**24
MAX_SCORES = 2**27  # scores resized at a time (half a gigabyte)


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

    def rows(self, start: int, stop: int, classes: torch.Tensor | None = None) -> torch.Tensor:
        """The scores of the rows `start` to `stop` (exclusive).

        Args:
            start: first row
            stop: the row after the last
            classes: int64 [k], only these classes; None: all

        Returns:
            [B, K or k, stop - start, W]
        """
        upper, last = self.upper_token_row[start:stop], self.maps.shape[2] - 1
        top, bottom = int(upper[0]), min(int(upper[-1]) + 1, last)
        tokens = self._widened[:, :, top : bottom + 1]
        tokens = tokens if classes is None else tokens[:, classes]
        weight = (self._token_row[start:stop] - upper)[:, None].to(tokens)
        if upper[0] == upper[-1]:
            return torch.lerp(tokens[:, :, :1], tokens[:, :, -1:], weight)
        return torch.lerp(tokens[:, :, upper - top], tokens[:, :, (upper + 1).clamp(max=last) - top], weight)

    @cached_property
    def upper_token_row(self) -> torch.Tensor:
        """For every row of pixels the row of tokens at or above it: int64 [H], rising, in main memory."""
        return self._token_row.long()

    @cached_property
    def _token_row(self) -> torch.Tensor:
        """The position of every row of pixels among the rows of tokens, float [H]."""
        rows = self.maps.shape[2]
        return ((torch.arange(self.height) + 0.5) * rows / self.height - 0.5).clamp(0, rows - 1)

    @cached_property
    def _widened(self) -> torch.Tensor:
        """[B, K, h, W]: resized to the image's width, not yet to its height."""
        return resize_out(self.maps, self.maps.shape[2], self.width)

    @cached_property
    def _winners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest score and its class, [B, H, W] each."""
        if self.maps.shape[1] * self.height * self.width < MIN_SCORES_TO_PRUNE:
            score, index = self.scores.max(dim=1)
            return score, index
        classes = possible_classes(self.maps)
        candidates = predict_mask(self.maps[:, classes], self.height, self.width)
        strips = [scores.max(dim=1) for _, _, scores in candidates.strips(MAX_SCORES)]
        return torch.cat([s.values for s in strips], dim=1), classes[torch.cat([s.indices for s in strips], dim=1)]


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
