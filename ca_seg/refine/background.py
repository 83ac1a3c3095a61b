"""Background where nothing else is sure: a threshold on the winning foreground share.

Words for "everything else" are poor prompts, so benchmarks with a background class (VOC with 21 classes, COCO-Object)
are often decided by a threshold, fixed before the run:

    foreground shares    cat 0.62  sofa 0.20      winner 0.62 >= 0.4    cat
                         cat 0.31  sofa 0.29      winner 0.31 <  0.4    background
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_shares


def background_by_threshold(scores: Tensor, background: int, threshold: float, *, insert: bool = False) -> Tensor:
    """Scores [B, K, h, w], shares, whose background is raised to `threshold` (0..1) wherever it was below.

    The largest score then is the background where no foreground class reaches the threshold, or where the background's
    own share wins; otherwise the same foreground class as before. Exactly at the threshold the lower index wins, as in
    every argmax. Pixels no longer sum to 1. Foreground scores are not touched, so confidences stay comparable.

    `background` is the index of the background among the K classes; with `insert` it is none of them, and a channel
    that holds the threshold is put in at that index: [B, K + 1, h, w].

    Apply it at the size at which the mask is read. Raises UserError for other shapes, OutOfRange for a negative score,
    a class that is not there, or a threshold outside 0..1.
    """
    check_shares(scores)
    last = scores.shape[1] if insert else scores.shape[1] - 1
    if not 0 <= background <= last:
        raise OutOfRange(f"background is class {background}", allowed=f"0 to {last}")
    if not 0 <= threshold <= 1:
        raise OutOfRange(f"a background threshold of {threshold}", allowed="0 to 1")
    if insert:
        level = torch.full_like(scores[:, :1], threshold)
        return torch.cat([scores[:, :background], level, scores[:, background:]], dim=1)
    raised = scores.clone()
    raised[:, background].clamp_(min=threshold)
    return raised
