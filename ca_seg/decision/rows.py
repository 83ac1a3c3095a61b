"""Rows of class scores at the size of an image, without resizing the whole image.

resized_row     the same numbers, to the last bit, as when torch resizes the whole image
ScoreRows       any rows, interpolated between two rows of tokens; the last bit of a number may differ from torch's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ca_seg.backbones.images import resize_out

MIN_WIDTH = 128  # torch takes another kernel for a narrower row than for the image that it is a row of


@dataclass(frozen=True)
class ScoreRows:
    """The scores of class maps [B, K, h, w] in an image of `height` x `width` pixels, row by row."""

    maps: torch.Tensor
    height: int
    width: int

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
        if upper[0] == upper[-1]:
            return torch.lerp(*self.token_rows(int(upper[0]), classes), self.weight(start, stop))
        top, bottom = int(upper[0]), min(int(upper[-1]) + 1, last)
        tokens = self._widened[:, :, top : bottom + 1]
        tokens = tokens if classes is None else tokens[:, classes]
        lower = (upper + 1).clamp(max=last)
        return torch.lerp(tokens[:, :, upper - top], tokens[:, :, lower - top], self.weight(start, stop))

    def token_rows(self, upper: int, classes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of tokens `upper` and the one below it, as wide as the image: [B, K or k, 1, W] each."""
        pair = self._widened[:, :, upper : upper + 2]
        pair = pair if classes is None else pair[:, classes]
        return pair[:, :, :1], pair[:, :, -1:]

    def weight(self, start: int, stop: int) -> torch.Tensor:
        """How far each of the rows `start` to `stop` lies below its upper row of tokens, 0..1, [rows, 1]."""
        return (self._token_row[start:stop] - self.upper_token_row[start:stop])[:, None].to(self.maps)

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


def resized_rows(maps: torch.Tensor, height: int, width: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """`resize_out(maps, height, width)` in pieces of rows: the same numbers to the last bit, in little memory.

    torch computes the position of a row of pixels among the rows of tokens from the row's number and a scale. For the
    rows between the first two rows of tokens its kernel is called as it is. Any other row is computed as the only row
    of an image of two rows of tokens, with the scale that puts it where it was:

        tokens  t      o---o---o
                         row         at t + weight: of 1 row, at 0.5 * scale - 0.5 = weight for scale = 2 * weight + 1
        tokens  t + 1  o---o---o

    Both numbers are exact in float32. Where that cannot be used (other types and devices, narrow images) there is one
    piece, the whole.

    Args:
        maps: [B, K, h, w]
        height: of the image, in pixels
        width: of the image, in pixels

    Yields:
        The first row, the row after the last, and the scores [B, K, rows, W] in channels-last order.
    """
    if maps.dtype != torch.float32 or maps.device.type != "cpu" or width < MIN_WIDTH:
        yield 0, height, resize_out(maps, height, width)
        return
    scale, last = torch.tensor(float(maps.shape[2])) / torch.tensor(float(height)), maps.shape[2] - 1
    weights = _row_weights(len(maps[0]), maps.shape[2], height, 1 / float(scale))
    upper = weights.ne(0).int().argmax(dim=1)
    first = int((upper == 0).sum())
    yield 0, first, _resized(maps[:, :, :2], first, width, 1 / float(scale))
    scales = (1 / (2 * weights.gather(1, upper[:, None] + 1)[:, 0].double() + 1)).tolist()
    pair_row, pair = -1, maps
    for row, token_row in enumerate(upper[first:].tolist(), first):
        if token_row != pair_row:
            pair = maps[:, :, [token_row, min(token_row + 1, last)]].contiguous(memory_format=torch.channels_last)
            pair_row = token_row
        yield row, row + 1, _resized(pair, 1, width, scales[row])


def _resized(maps: torch.Tensor, height: int, width: int, scale: float) -> torch.Tensor:
    """The first `height` rows of maps that are enlarged vertically by `scale`."""
    ordered = maps.contiguous(memory_format=torch.channels_last)
    return torch.ops.aten.upsample_bilinear2d(ordered, [height, width], False, scale, None)


def _row_weights(classes: int, token_rows: int, height: int, scale: float) -> torch.Tensor:
    """How much each row of tokens counts in each row of pixels, [H, h + 1], as torch's kernel computes it.

    One more row of tokens keeps apart the two weights of the rows of pixels below the last one.
    """
    identity = torch.eye(token_rows + 1)[None, :, :, None]
    if classes > 3:  # torch has one kernel for up to three channels, another for more
        identity = torch.cat([identity, identity.new_zeros(1, 4, token_rows + 1, 1)], dim=1)
        resized = _resized(identity, height, 1, scale)
    else:
        resized = _resized(identity.transpose(0, 1), height, 1, scale).transpose(0, 1)
    return resized[0, : token_rows + 1, :, 0].T
