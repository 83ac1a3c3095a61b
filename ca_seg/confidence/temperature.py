"""Temperature: how peaked the class probabilities of a pixel are, without changing their order.

    p  ──►  p^(1/T) / sum of p^(1/T)        the same as softmax(log(p) / T)

T below 1 makes predictions more certain, T above 1 less certain (Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017, section 4.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange

LOWEST, HIGHEST = 1e-4, 1e4


def apply_temperature(scores: Tensor, temperature: float, *, dim: int = 1) -> Tensor:
    """Probabilities at a temperature.

    Args:
        scores: [B, K, H, W], 0 or more; probabilities, or any scores that are proportional to them
        temperature: T, above 0
        dim: the dimension of the classes

    Returns:
        Same shape; sums to 1 over the classes, and is 0 at a pixel where all scores are 0.
    """
    powers = relative_powers(scores, scores.amax(dim=dim, keepdim=True), temperature)
    return powers / powers.sum(dim=dim, keepdim=True).clamp_min(smallest(scores))


def relative_powers(scores: Tensor, largest: Tensor, temperature: float) -> Tensor:
    """(scores / largest)^(1/T), not normalised. The division keeps small scores from underflow."""
    return (scores / largest.clamp_min(smallest(scores))) ** (1 / temperature)


def check_temperature(temperature: float) -> None:
    """Raises OutOfRange for a temperature outside 0.0001 to 10000."""
    if not LOWEST <= temperature <= HIGHEST:  # NaN fails too
        raise OutOfRange(f"a temperature of {temperature}", allowed="0.0001 to 10000")


def smallest(scores: Tensor) -> float:
    """The smallest normal number of the dtype, to divide by in place of 0."""
    return torch.finfo(scores.dtype).tiny
