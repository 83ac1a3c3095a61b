"""Expected calibration error (is a confidence of 0.9 correct nine times out of ten?) and temperature scaling.

Pixels are sorted into M bins of equal width by confidence (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, section 2, equation 3):

    ECE = sum over bins of (pixels in the bin / all pixels) * | their accuracy - their mean confidence |

    accuracy 1 |             __/        a bin above the diagonal: the model is underconfident;
               |       __ /|  |         below: overconfident. `reliability` gives the numbers of this plot
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
from ca_seg.vocabulary import IGNORE_INDEX

_UNIT = 2**20  # confidences are summed as integers: the same in any order and split; enough for 8e12 pixels
_TOLERANCE = 1e-4  # probabilities may round to slightly above 1
LOWEST, HIGHEST = 1e-4, 1e4  # temperatures


@dataclass(frozen=True)
class Reliability:
    """The bins from low to high confidence, all [M]. A bin holds low < confidence <= high (the first one also 0)."""

    low: Tensor  # float64
    high: Tensor  # float64
    count: Tensor  # int64, pixels
    confidence: Tensor  # float64, mean in the bin; NaN where it is empty
    accuracy: Tensor  # float64, fraction correct; NaN where it is empty


class CalibrationError(Metric):
    """Expected calibration error of pixels over any number of images, in constant memory (3 * M numbers).

    `compute` gives the ECE, float64, 0..1; NaN before the first pixel. `reliability` gives the bins. Confidences are
    rounded to multiples of 2^-20, so that sums are integers and several processes give exactly the result of one.

    Args:
        bins: M, 1 or more
        ignore_index: void

    Raises:
        OutOfRange: for fewer than 1 bin
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    count: Tensor
    confidence: Tensor
    hits: Tensor

    def __init__(self, bins: int = 15, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        if bins < 1:
            raise OutOfRange(f"calibration in {bins} bins", allowed="1 or more")
        self.bins, self.ignore_index = bins, ignore_index
        for state in ("count", "confidence", "hits"):
            self.add_state(state, torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Add pixels. All arguments have one shape, any shape; void pixels are not used.

        Args:
            confidence: probability of the predicted class, 0..1
            prediction: integers, the predicted class
            target: integers, the true class or `ignore_index`

        Raises:
            BadMask: when shapes differ or labels are not integers
            OutOfRange: for a confidence that is NaN or outside 0..1
        """
        if not confidence.shape == prediction.shape == target.shape:
            shapes = [tuple(part.shape) for part in (confidence, prediction, target)]
            raise BadMask(f"confidence, prediction and target of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}")
        check_pair(prediction, target)
        counted = target != self.ignore_index
        values, correct = confidence.detach()[counted].float(), prediction[counted].long() == target[counted].long()
        if values.numel() == 0:
            return
        valid = values.ge(0) & values.le(1 + _TOLERANCE)
        if not valid.all():
            wrong = values[~valid][0]
            raise OutOfRange(f"a confidence of {float(wrong):g}", allowed="0 to 1", fix="take a softmax of the scores")
        units = (values.clamp(max=1) * _UNIT).round().long()
        index = ((units * self.bins - 1) // _UNIT).clamp(min=0)
        self.count += torch.bincount(index, minlength=self.bins)
        self.hits += torch.bincount(index[correct], minlength=self.bins)
        self.confidence.index_add_(0, index, units)

    def reliability(self) -> Reliability:
        """The bins, for a reliability diagram."""
        count, confidence, hits = (state.cpu() for state in (self.count, self.confidence, self.hits))
        edges = torch.arange(self.bins + 1, dtype=torch.float64) / self.bins
        return Reliability(
            edges[:-1], edges[1:], count.clone(), confidence.double() / _UNIT / count, hits / count.double()
        )

    def compute(self) -> Tensor:
        """The expected calibration error so far."""
        count, confidence, hits = (state.cpu().double() for state in (self.count, self.confidence, self.hits))
        return (hits - confidence / _UNIT).abs().sum() / count.sum()


def fit_temperature(logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> float:
    """The temperature T that minimises the negative log-likelihood of softmax(logits / T) (Guo et al., section 4.2).

    T divides the logits of all classes and pixels, so it changes confidences and never the predicted class. The
    negative log-likelihood is convex in b = 1 / T, with slope mean(sum_k p_k z_k - z_true); T is where that slope is
    0. The computation is in float64, on a sample that fits in memory: 10,000 pixels are enough.

    Args:
        logits: float [N, K] or [B, K, H, W]; for probabilities p their log(p)
        target: integers [N] or [B, H, W], true classes or `ignore_index`
        ignore_index: void

    Returns:
        T, 1e-4 to 1e4

    Raises:
        OutOfRange: for a logit that is NaN or infinite
        UserError: when no T in that range is best: every pixel is correct (T would be 0), or the true class does not
            score above the mean class (T would be infinite)
    """
    if logits.ndim < 2 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise BadMask(f"logits of shape {tuple(logits.shape)} for a target of shape {tuple(target.shape)}")
    counted = target != ignore_index
    rows, true = logits.detach().movedim(1, -1)[counted].double(), target[counted].long()
    if len(true) == 0:
        raise UserError("a temperature without any pixel", fix="give a sample with pixels that are not void")
    if not rows.isfinite().all():
        raise OutOfRange(
            "a logit is NaN or infinite", allowed="finite logits", fix="clamp probabilities above 0 before the log"
        )
    check_range("target", true, rows.shape[1], f"void pixels are {ignore_index}")
    true_logit = rows.gather(1, true[:, None]).mean()

    def slope(sharpness: float) -> float:
        return float(((rows * sharpness).softmax(-1) * rows).sum(-1).mean() - true_logit)

    if slope(1 / HIGHEST) >= 0:
        raise UserError(
            "no temperature fits: the logits do not depend on the ground truth", fix="check classes and masks"
        )
    if slope(1 / LOWEST) <= 0:
        raise UserError("no temperature fits: every pixel of the sample is correct", fix="give a larger sample")
    return 1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-12, rtol=1e-10)
