"""Is a confidence of 0.9 right nine times out of ten? Expected calibration error, and the temperature that mends it.

Pixels are put into M bins of equal width by confidence (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, section 2, equation 3):

    ECE = sum over bins of (pixels in the bin / all pixels) * | share of them that is right - their mean confidence |

    right  1 |             __/          a bin above the diagonal: the model was too modest;
             |       __ /|  |           below: too sure. `reliability` gives the table for this drawing
           0 |___/|__|__|__|
             0   confidence   1
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.label_checks import check_pair, check_range

_UNIT = 2**20  # confidences are summed in whole units: the same in any order and split; room for 8e12 pixels
_ABOVE = 1e-4  # a sum of shares may round to a little over 1
COLDEST, HOTTEST = 1e-4, 1e4


@dataclass(frozen=True)
class Reliability:
    """The bins from low to high confidence, each [M]; bin m holds low < confidence <= high (the first also 0)."""

    low: Tensor  # float64
    high: Tensor  # float64
    count: Tensor  # int64, pixels
    confidence: Tensor  # float64, mean in the bin; nan where it is empty
    accuracy: Tensor  # float64, share that is right; nan where it is empty


class CalibrationError(Metric):
    """Expected calibration error of pixels over any number of images, in constant memory (3 * M numbers).

    `compute` gives ECE, float64, 0..1; nan before the first pixel. `reliability` gives the bins. Confidences count in
    steps of 2^-20, so that sums are whole numbers and two processes give what one gives, to the bit.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    count: Tensor
    confidence: Tensor
    hits: Tensor

    def __init__(self, bins: int = 15, ignore_index: int = 255) -> None:
        super().__init__()
        if bins < 1:
            raise OutOfRange(f"calibration in {bins} bins", allowed="1 or more")
        self.bins, self.ignore_index = bins, ignore_index
        for state in ("count", "confidence", "hits"):
            self.add_state(state, torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Add pixels: the winning class's share 0..1, the winning class, the true class or void; one shape, any shape.

        Void pixels are not looked at. Raises BadMask when shapes differ or labels are not integers, OutOfRange for a
        confidence that is nan or outside 0..1.
        """
        if not confidence.shape == prediction.shape == target.shape:
            shapes = [tuple(part.shape) for part in (confidence, prediction, target)]
            raise BadMask(f"confidence, prediction and target of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}")
        check_pair(prediction, target)
        counted = target != self.ignore_index
        share, right = confidence.detach()[counted].float(), prediction[counted].long() == target[counted].long()
        if share.numel() == 0:
            return
        if not (share.ge(0) & share.le(1 + _ABOVE)).all():
            wrong = share[~(share.ge(0) & share.le(1 + _ABOVE))][0]
            raise OutOfRange(
                f"a confidence of {float(wrong):g}", allowed="0 to 1", fix="give shares: softmax of scores"
            )
        units = (share.clamp(max=1) * _UNIT).round().long()
        where = ((units * self.bins - 1) // _UNIT).clamp(min=0)
        for state, amount in (
            (self.count, torch.ones_like(units)),
            (self.confidence, units),
            (self.hits, right.long()),
        ):
            state.index_add_(0, where, amount)

    def reliability(self) -> Reliability:
        """The bins as a table, for a drawing."""
        count, confidence, hits = (state.cpu() for state in (self.count, self.confidence, self.hits))
        edges = torch.arange(self.bins + 1, dtype=torch.float64) / self.bins
        return Reliability(
            edges[:-1], edges[1:], count.clone(), confidence.double() / _UNIT / count, hits / count.double()
        )

    def compute(self) -> Tensor:
        count, confidence, hits = (state.cpu().double() for state in (self.count, self.confidence, self.hits))
        return (hits - confidence / _UNIT).abs().sum() / count.sum()


def fit_temperature(logits: Tensor, target: Tensor, *, ignore_index: int = 255) -> float:
    """The temperature T for which softmax(logits / T) is least surprised by the ground truth (Guo et al., section 4.2).

    `logits` are float [N, K] or [B, K, H, W], for shares s their log(s); `target` [N] or [B, H, W], class or void. T
    divides the logits of every class and pixel alike, so it changes confidences and never the winning class. The
    negative log likelihood is convex in b = 1 / T, with slope mean(sum_k p_k z_k - z_true), so T is where that slope
    is 0. Work is in float64 on a sample that fits in memory: some 10,000 pixels are plenty.

    Raises OutOfRange for a logit that is nan or infinite, and UserError when no T from 1e-4 to 1e4 is best: the
    sample is all right (T would be 0), or the ground truth does not score above the mean class (T would be infinite).
    """
    if logits.ndim < 2 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise BadMask(f"logits of shape {tuple(logits.shape)} for a target of shape {tuple(target.shape)}")
    counted = target != ignore_index
    rows, true = logits.detach().movedim(1, -1)[counted].double(), target[counted].long()
    if len(true) == 0:
        raise UserError("a temperature from no pixel", fix="give a sample with pixels that are not void")
    if not rows.isfinite().all():
        raise OutOfRange(
            "a logit is nan or infinite", allowed="finite logits", fix="clamp shares above 0 before the log"
        )
    check_range("target", true, rows.shape[1], f"void pixels are {ignore_index}")
    chosen = rows.gather(1, true[:, None]).mean()

    def slope(sharpness: float) -> float:
        return float(((rows * sharpness).softmax(-1) * rows).sum(-1).mean() - chosen)

    if slope(1 / HOTTEST) >= 0:
        raise UserError(
            "no temperature fits: the logits say nothing of the ground truth", fix="check classes and masks"
        )
    if slope(1 / COLDEST) <= 0:
        raise UserError("no temperature fits: every pixel of the sample is right", fix="give a larger sample")
    return 1 / brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12, rtol=1e-10)
