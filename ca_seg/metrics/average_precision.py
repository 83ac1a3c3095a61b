"""Average precision of score maps: how well the scores rank right pixels above wrong ones, whatever the threshold.

This is not the mAP of object detection. For one map and one mask, with the pixels ordered by falling score,

    AP = sum over thresholds of (recall_n - recall_(n-1)) * precision_n          equal scores share one threshold

without interpolation, exactly scikit-learn's `average_precision_score`. Here it is exact too (no bins).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange, UserError

_UNIT = 2**40  # AP is summed in whole units: exact in any order and split, also on devices without float64


def average_precision(scores: Tensor, ground_truth: Tensor) -> Tensor:
    """AP of each row: float scores [R, N] against bool ground truth [R, N], to float64 [R]. nan for a row with no true pixel.

    Only the order of the scores matters. float16 and bfloat16 are compared as float32. Raises OutOfRange for a score
    that is nan or infinite, for it has no place in an order.
    """
    scores = scores.detach()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if not scores.isfinite().all():
        raise OutOfRange("a score map has a value that is nan or infinite", allowed="finite scores")
    rows = zip(*_falling(scores, ground_truth), strict=True)
    return torch.stack([_ranked(score, hit) for score, hit in rows]) if len(scores) else torch.empty(0).double()


def _falling(scores: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, or numbers in their order, and ground truth, both sorted by falling score.

    On a CPU each score and its ground truth are packed into one whole number, which NumPy sorts several times faster than an
    order of indices: the bits of a positive float rise with it, those of a negative one fall.
    """
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        order = scores.argsort(dim=-1, descending=True)
        return scores.gather(-1, order), ground_truth.gather(-1, order)
    bits = (scores.numpy() + np.float32(0)).view(np.uint32)  # + 0: there is one zero
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)
    packed = (rising << 1) | ground_truth.numpy()
    packed.sort(axis=-1)
    falling = torch.from_numpy(packed).flip(-1)
    return falling >> 1, (falling & 1).bool()


def _ranked(score: Tensor, hit: Tensor) -> Tensor:
    """AP of one row that is sorted from high to low."""
    found = hit.cumsum(0)
    last = torch.ones_like(hit, dtype=torch.bool)  # the last pixel of each run of equal scores
    torch.ne(score[1:], score[:-1], out=last[:-1])
    at = last.nonzero().squeeze(-1)
    found = found[at].cpu().double()
    precision = found / (at.cpu() + 1)
    gained = found.diff(prepend=found.new_zeros(1))
    return (gained * precision).sum() / found[-1] if len(found) else found.new_tensor(torch.nan)


def paper_average_precision(score: Tensor, mask: Tensor, *, ignore_index: int = 255) -> Tensor:
    """The paper's AP of one image: both channels at once.

    `score` [H, W] says how much a pixel is foreground, 0..1; `mask` [H, W] is 0, 1 or void. The scores (1 - s, s) are
    ranked together against the ground truth (1 - mask, mask), 2 * H * W values, in the dtype of `score`. So an image of
    background alone has a figure as well. The paper's mAP is its mean over images. The reference code also applies
    it to raw products outside 0..1, where 1 - s means little; that is allowed here so that its ablations can be
    repeated.

    nan when every pixel is void. Raises BadMask for a mask with another value, or of another shape.
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


def scene_average_precision(scores: Tensor, mask: Tensor, *, ignore_index: int = 255) -> Tensor:
    """AP of one image with many classes: the mean over the classes PRESENT in it.

    `scores` [K, H, W], `mask` [H, W] of class indices or void. For each class with at least one true pixel, its map is
    ranked against "the mask is this class" over all pixels that are not void; the mean of these is the image's AP.
    A class that is absent has no AP (there is nothing to find), so false alarms of absent classes do not show here:
    read it beside mIoU. The paper gives no multi-class mAP; this definition is ours.

    nan when every pixel is void. Raises BadMask for a label outside 0..K-1, or another shape.
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
    """The mean of the per-image AP over a stream of images, in constant memory (a sum and a count).

    `protocol` is "paper" (`paper_average_precision`: scores [B, H, W], masks of 0, 1, void) or "present"
    (`scene_average_precision`: scores [B, K, H, W], masks of class indices). An image whose every pixel is void has no
    AP and is not counted. `compute` gives float64, 0..1; nan before the first image.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, protocol: Literal["paper", "present"], ignore_index: int = 255) -> None:
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
        one = paper_average_precision if self.protocol == "paper" else scene_average_precision
        for image, ground_truth in zip(scores, mask, strict=True):
            value = one(image, ground_truth, ignore_index=self.ignore_index)
            if not value.isnan():
                self.total += round(float(value) * _UNIT)
                self.count += 1

    def compute(self) -> Tensor:
        return self.total.cpu().double() / _UNIT / self.count.cpu()
