"""Average precision of score maps: how well the scores rank the pixels of a class above all others.

This is not the mAP of object detection. For one map and one mask, with the pixels ordered by falling score,

    AP = sum over thresholds of (recall_n - recall_(n-1)) * precision_n          equal scores share one threshold

without interpolation and without bins, exactly as scikit-learn's `average_precision_score`.

Why not torchmetrics: the paper's protocol ranks both channels of an image together and averages over images, which
torchmetrics does not have, and its exact mode keeps all pixels of a dataset in memory. The sort of packed integers here
is also several times faster.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.vocabulary import IGNORE_INDEX

_UNIT = 2**40  # AP is summed as integers: exact in any order and split, also on devices without float64


def average_precision(scores: Tensor, ground_truth: Tensor) -> Tensor:
    """The AP of each row. Only the order of the scores matters.

    Args:
        scores: float [R, N]; float16 and bfloat16 are compared as float32
        ground_truth: bool [R, N]

    Returns:
        float64 [R]; NaN for a row without a true pixel

    Raises:
        OutOfRange: for a score that is NaN or infinite
    """
    scores = scores.detach()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if not scores.isfinite().all():
        raise OutOfRange("a score map has a value that is NaN or infinite", allowed="finite scores")
    rows = zip(*_sorted(scores, ground_truth), strict=True)
    return torch.stack([_ap_of_sorted(score, hit) for score, hit in rows]) if len(scores) else torch.empty(0).double()


def _sorted(scores: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (or integers in the same order) and ground truth, both sorted by falling score.

    On a CPU each score and its ground truth are packed into one integer. NumPy sorts these several times faster than it
    computes an order of indices. The bits of a positive float rise with its value, those of a negative one fall.
    """
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        order = scores.argsort(dim=-1, descending=True)
        return scores.gather(-1, order), ground_truth.gather(-1, order)
    bits = (scores.numpy() + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)
    packed = (rising << 1) | ground_truth.numpy()
    packed.sort(axis=-1)
    falling = torch.from_numpy(packed).flip(-1)
    return falling >> 1, (falling & 1).bool()


def _ap_of_sorted(score: Tensor, hit: Tensor) -> Tensor:
    """The AP of one row, sorted from high to low."""
    hits = hit.cumsum(0)
    last = torch.ones_like(hit, dtype=torch.bool)  # the last pixel of each run of equal scores
    torch.ne(score[1:], score[:-1], out=last[:-1])
    rank = last.nonzero().squeeze(-1)
    hits = hits[rank].cpu().double()
    precision = hits / (rank.cpu() + 1)
    new_hits = hits.diff(prepend=hits.new_zeros(1))
    return (new_hits * precision).sum() / hits[-1] if len(hits) else hits.new_tensor(torch.nan)


def paper_average_precision(score: Tensor, mask: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The AP of one image as the ConceptAttention paper computes it: both channels at once.

    The scores (1 - s, s) are ranked together against the ground truth (1 - mask, mask), 2 * H * W values. So an image
    that is all background has a figure as well. The paper's mAP is the mean over images. The reference code also
    applies it to raw products outside 0..1, where 1 - s means little; that is allowed here to repeat its ablations.

    Args:
        score: [H, W], the score s of the foreground, 0..1
        mask: [H, W], 0 (background), 1 (foreground) or `ignore_index`
        ignore_index: void

    Returns:
        float64 scalar; NaN when every pixel is void

    Raises:
        BadMask: for a mask with another value, or of another shape
    """
    if score.shape != mask.shape:
        raise BadMask(f"a score map of shape {tuple(score.shape)} for a mask of shape {tuple(mask.shape)}")
    counted = mask != ignore_index
    score, mask = score[counted], mask[counted]
    if mask.numel() == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    if mask.min() < 0 or mask.max() > 1:
        wrong = int(mask.min() if mask.min() < 0 else mask.max())
        raise BadMask(f"a two-class mask has label {wrong}", allowed=f"0 (background), 1, {ignore_index} (void)")
    ground_truth = mask.bool()
    return average_precision(torch.cat((1 - score, score))[None], torch.cat((~ground_truth, ground_truth))[None])[0]


def scene_average_precision(scores: Tensor, mask: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The AP of one image with many classes: the mean over the classes that are present in it.

    For each class with at least one true pixel, its map is ranked against "the mask is this class" over all pixels that
    are not void. An absent class has no AP, so false positives of absent classes do not show here: read it beside mIoU.
    The paper has no multi-class mAP; this definition is ours.

    Args:
        scores: [K, H, W]
        mask: [H, W], class indices or `ignore_index`
        ignore_index: void

    Returns:
        float64 scalar; NaN when every pixel is void

    Raises:
        BadMask: for a label outside 0..K-1, or another shape
    """
    if scores.shape[1:] != mask.shape:
        raise BadMask(f"score maps of shape {tuple(scores.shape)} for a mask of shape {tuple(mask.shape)}")
    counted = mask != ignore_index
    labels = mask[counted].long()
    if labels.numel() == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= len(scores):
        wrong = low if low < 0 else high
        raise BadMask(f"the mask has label {wrong}", allowed=f"0 to {len(scores) - 1}, {ignore_index} (void)")
    present = torch.bincount(labels, minlength=len(scores)).nonzero().squeeze(-1)
    ranked = scores[present].flatten(1)
    if len(labels) < counted.numel():
        ranked = ranked[:, counted.flatten()]
    return average_precision(ranked, labels == present[:, None]).mean()


class MeanAveragePrecision(Metric):
    """The mean AP over images, in constant memory.

    An image whose every pixel is void has no AP and is not counted. `compute` gives float64, 0..1; NaN before the first
    image.

    Args:
        protocol: "paper" (`paper_average_precision`: scores [B, H, W], masks of 0, 1 and void) or "present"
            (`scene_average_precision`: scores [B, K, H, W], masks of class indices and void)
        ignore_index: void

    Raises:
        UserError: for another protocol
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, protocol: Literal["paper", "present"], ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        if protocol not in ("paper", "present"):
            raise UserError(f"average precision by {protocol!r}", allowed="'paper' or 'present'")
        self.protocol, self.ignore_index = protocol, ignore_index
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, mask: Tensor) -> None:
        """Add B images: scores [B, H, W] or [B, K, H, W] by the protocol, masks [B, H, W]."""
        if len(scores) != len(mask):
            raise BadMask(f"score maps of {len(scores)} images for masks of {len(mask)}")
        average = paper_average_precision if self.protocol == "paper" else scene_average_precision
        for image, ground_truth in zip(scores, mask, strict=True):
            value = average(image, ground_truth, ignore_index=self.ignore_index)
            if not value.isnan():
                self.total += round(float(value) * _UNIT)
                self.count += 1

    def compute(self) -> Tensor:
        """The mean AP so far."""
        return self.total.cpu().double() / _UNIT / self.count.cpu()
