"""Features as they are stored: float16 with one scale per channel, or float32.

Some channels of a transformer's features have values thousands of times larger than others, and float16 overflows
above 65,504. So each channel of each image is divided by a scale, a power of two that brings the channel's largest
value to 2^14 .. 2^15:

    channel     0.002 .. 0.07      scale 2^-18      stored      524 .. 18350
    channel       -3e6 .. 80       scale 2^7        stored   -23437 .. 0.6

A power of two changes no digit, so the only loss is the rounding of float16: 11 significant bits for values down to
2^-28 of the channel's largest, and below that an error under 2^-39 of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

_MAX_EXPONENT = 15  # the largest value of a channel lies below 2^15
_MIN_EXPONENT = -126  # exponent of the smallest normal float32
_MAX_VALUE = 2.0**128 * (1 - 2.0**-11)  # larger values are clamped to it, because they would round to infinity


class StoredFeatures(NamedTuple):
    """The features of one image, ready to be written."""

    values: torch.Tensor  # float16 or float32 [channels, h, w]
    scale: torch.Tensor | None  # float32 [channels]; None with float32 values
    size: tuple[int, int]  # height and width of the image they are of

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)


def to_stored(features: torch.Tensor, dtype: str, size: tuple[int, int]) -> StoredFeatures:
    """Finite float32 features [channels, h, w] as a cache of `dtype` stores them; `size` is the image's."""
    features = features.detach().to("cpu", torch.float32)
    if dtype == "float32":
        return StoredFeatures(features.contiguous().clone(), None, size)
    features = features.clamp(-_MAX_VALUE, _MAX_VALUE)
    exponent = torch.frexp(features.abs().amax(dim=(1, 2))).exponent
    shift = (exponent - _MAX_EXPONENT).clamp_min(_MIN_EXPONENT)
    scale = ((shift + 127).int() << 23).view(torch.float32)  # exactly 2 ** shift
    return StoredFeatures((features / scale[:, None, None]).half(), scale, size)


def to_features(values: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """The inverse of `to_stored`: float32 [channels, h, w]."""
    return values if scale is None else values * scale[:, None, None]
