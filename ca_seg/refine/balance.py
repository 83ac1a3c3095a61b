"""Classes that are known to be in an image are raised if they have little of it.

Concepts compete at each pixel. A backbone that saw a thousand walls for every banana gives walls the doubtful pixels,
and a class that is known to be there may win none. Each map is divided by a power of its mean over the image, which
is a milder form of correcting a classifier by the share of its classes (Saerens, Latinne and Decaestecker, "Adjusting
the outputs of a classifier to new a priori probabilities", 2002):

    mean over the image     wall 0.70    table 0.27    banana 0.03    bus 0.001
    (mean + 0.05) ^ 0.5     0.87         0.57          0.28           0.23        `least` 0.05, `power` 0.5
    factor beside the wall  1            1.5           3.1            3.8

`least` bounds the factor: of a class that is nowhere after all, the mean says nothing. Where all classes of a dataset
are offered, most are nowhere, and the step does nothing (`ca_seg/refine/steps.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_nonnegative

POWER = 0.5
LEAST = 0.05


def balanced(scores: Tensor, *, power: float = POWER, least: float = LEAST) -> Tensor:
    """Scores in which each class counts more, the smaller its mean over the image is. A pixel keeps its sum.

    Args:
        scores: float [B, K, h, w], 0 or more
        power: 0 changes nothing, 1 divides by the mean itself
        least: added to each mean, above 0

    Returns:
        [B, K, h, w]

    Raises:
        UserError: for another shape
        OutOfRange: for a negative score, a power outside 0..1, or `least` of 0 or less
    """
    check_nonnegative(scores)
    if not 0 <= power <= 1:
        raise OutOfRange(f"power {power}", allowed="0 to 1")
    if not least > 0:
        raise OutOfRange(f"least {least}", allowed="above 0")
    raised = scores / (scores.mean(dim=(2, 3), keepdim=True) + least) ** power
    total = raised.sum(dim=1, keepdim=True).clamp_min(torch.finfo(raised.dtype).tiny)
    return raised / total * scores.sum(dim=1, keepdim=True)
