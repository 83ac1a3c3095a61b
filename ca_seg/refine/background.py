"""Background where no foreground class is probable enough: a threshold on the winning foreground probability.

Words for "everything else" are poor prompts, so benchmarks with a background class (VOC with 21 classes, COCO-Object)
are often evaluated with a threshold that is fixed before the run:

    foreground probabilities    cat 0.62  sofa 0.20      winner 0.62 >= 0.4    cat
                                cat 0.31  sofa 0.29      winner 0.31 <  0.4    background
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_nonnegative


def background_by_threshold(scores: Tensor, background: int, threshold: float) -> Tensor:
    """Scores whose background class is raised to the threshold wherever it was below.

    The argmax is then the background where no foreground class reaches the threshold, or where the background's own
    probability wins; elsewhere it is the same foreground class as before. Exactly at the threshold the lower index
    wins, as in every argmax. Pixels no longer sum to 1. Foreground scores are unchanged, so that confidences stay
    comparable. Apply it at the size of the mask.

    Args:
        scores: float [B, K, h, w], 0 or more
        background: the index of the background among the K classes
        threshold: 0..1

    Returns:
        [B, K, h, w]

    Raises:
        UserError: for another shape
        OutOfRange: for a negative score, a class that does not exist, or a threshold outside 0..1
    """
    _check(scores, background, scores.shape[1] - 1, threshold)
    raised = scores.clone()
    raised[:, background].clamp_(min=threshold)
    return raised


def insert_background(scores: Tensor, background: int, threshold: float) -> Tensor:
    """Scores with a further class, the background, that has the threshold everywhere.

    For vocabularies without a background class. The argmax is then as in `background_by_threshold`.

    Args:
        scores: float [B, K, h, w], 0 or more; foreground classes only
        background: the index that the background gets, 0..K
        threshold: 0..1

    Returns:
        [B, K + 1, h, w]

    Raises:
        UserError: for another shape
        OutOfRange: for a negative score, an index outside 0..K, or a threshold outside 0..1
    """
    _check(scores, background, scores.shape[1], threshold)
    level = torch.full_like(scores[:, :1], threshold)
    return torch.cat([scores[:, :background], level, scores[:, background:]], dim=1)


def _check(scores: Tensor, background: int, last: int, threshold: float) -> None:
    check_nonnegative(scores)
    if not 0 <= background <= last:
        raise OutOfRange(f"background is class {background}", allowed=f"0 to {last}")
    if not 0 <= threshold <= 1:
        raise OutOfRange(f"a background threshold of {threshold}", allowed="0 to 1")
