"""95 % bootstrap intervals of scores over images, in one pass and constant memory.

A score such as mIoU is computed from sums over images. The bootstrap estimates how it would vary with other images:
draw N of the N images with replacement, sum again, repeat R times. In one draw an image occurs 0, 1, 2 ... times: for
large N a Poisson number with mean 1, independent of the others. With that number as the weight of the image (Hanley and
MacGibbon 2006; Chamandy et al. 2012) the images need not be stored:

    image         counts       weight in replicate  1   2   3  ...  R
    street_01     [K, 3]                            1   0   2       1       replicate r = sum of weight * counts
    street_02     [K, 3]                            0   1   1       3       interval = 2.5 % and 97.5 % points of the
       ...                                                                  figure over the R replicates

A weight depends only on (seed, image_id, r), so order, batches and the number of processes do not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange
from ca_seg.metrics.label_checks import check_classes, counted_pixels
from ca_seg.vocabulary import IGNORE_INDEX

LEVEL = 0.95
_CUMULATIVE = pdtr(np.arange(19), 1.0)  # P(Poisson(1) <= 0), P(<= 1), ...; at 18 it is 1 in float64

Figure = Callable[[Tensor], Tensor]  # counts float64 [..., K, 3] to [...]


class Interval(NamedTuple):
    """A score with its bootstrap interval. (A tuple, because torchmetrics cannot handle a frozen dataclass.)"""

    value: float  # over all images, each with weight 1
    low: float
    high: float


def counted_accuracy(counts: Tensor) -> Tensor:
    """Pixel accuracy [...] from counts (hits, ground truth, predicted) [..., K, 3]; NaN without a pixel."""
    hits, ground_truth, _ = counts.unbind(-1)
    return hits.sum(-1) / ground_truth.sum(-1)


def counted_miou(counts: Tensor) -> Tensor:
    """mIoU [...] from counts (hits, ground truth, predicted) [..., K, 3], over the classes with any pixels."""
    hits, ground_truth, predicted = counts.unbind(-1)
    return (hits / (ground_truth + predicted - hits)).nanmean(-1)


@lru_cache(maxsize=64)  # both protocols ask for an image's weights
def poisson_weights(image_id: str, *, replicates: int, seed: int = 0) -> Tensor:
    """How often an image occurs in each of R replicates: Poisson numbers with mean 1.

    They come from a hash (SHAKE-128), not from a random generator: the same on every machine and library version.

    Args:
        image_id: of the image
        replicates: R
        seed: of the bootstrap

    Returns:
        int64 [R], 0 or more; not to be changed
    """
    digest = hashlib.shake_128(f"{seed}:{image_id}".encode("utf-8", "surrogateescape")).digest(8 * replicates)
    uniform = (np.frombuffer(digest, "<u8") >> np.uint64(11)) * 2.0**-53
    return torch.from_numpy(np.searchsorted(_CUMULATIVE, uniform, side="right").astype(np.int64))


class BootstrapIntervals(Metric):
    """Bootstrap intervals of scores that depend on the hits, true and predicted pixels of each class.

    `compute` gives {"pixel_accuracy": Interval, "miou": Interval}; `interval(figure)` gives any other. Memory is
    R * K * 3 numbers. States of several processes are summed as integers, so the result is that of one process.

    Image ids must be unique: two images with one id would always be drawn together, which widens the intervals. The
    interval covers the choice of images only, not the noise of the method (its seeds).

    Args:
        num_classes: K
        ignore_index: void
        replicates: R, 40 or more (fewer have no 2.5 % point)
        seed: of the bootstrap

    Raises:
        UserError: as ConfusionMatrix
        OutOfRange: for fewer than 40 replicates
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    whole: Tensor
    replicates: Tensor

    def __init__(
        self, num_classes: int, ignore_index: int = IGNORE_INDEX, replicates: int = 200, seed: int = 0
    ) -> None:
        super().__init__()
        check_classes("a bootstrap", num_classes, ignore_index)
        if replicates < 40:
            raise OutOfRange(f"a bootstrap of {replicates} replicates", allowed="40 or more")
        self.num_classes, self.ignore_index, self.seed = num_classes, ignore_index, seed
        whole = torch.zeros(num_classes, 3, dtype=torch.int64)
        self.add_state("whole", whole, dist_reduce_fx="sum")
        self.add_state("replicates", whole.repeat(replicates, 1, 1), dist_reduce_fx="sum")

    def update(self, image_ids: Sequence[str], prediction: Tensor, target: Tensor) -> None:
        """Add B images.

        Args:
            image_ids: B ids
            prediction: integers [B, H, W], class indices
            target: integers [B, H, W], class indices or `ignore_index`

        Raises:
            BadMask: as ConfusionMatrix, and for a number of ids other than B
        """
        if isinstance(image_ids, str) or len(image_ids) != len(target):
            raise BadMask(f"image ids {image_ids!r} for {len(target)} images", allowed="a list with one id per image")
        counted = counted_pixels(prediction, target, self.num_classes, self.ignore_index)
        for image_id, predicted, ground_truth, valid in zip(image_ids, prediction, target, counted, strict=True):
            predicted, ground_truth = predicted[valid].long(), ground_truth[valid].long()
            parts = [
                torch.bincount(x, minlength=self.num_classes)
                for x in (ground_truth[predicted == ground_truth], ground_truth, predicted)
            ]
            counts = torch.stack(parts, dim=-1)
            weights = poisson_weights(image_id, replicates=len(self.replicates), seed=self.seed)
            seen = counts.any(dim=1).nonzero()[:, 0]  # an image shows few of the classes
            self.whole += counts
            self.replicates.index_add_(1, seen, weights.to(counts.device)[:, None, None] * counts[seen])

    def interval(self, figure: Figure, level: float = LEVEL) -> Interval:
        """The percentile interval of a score.

        Replicates in which the score is NaN are excluded (with a handful of images, a replicate may hold none).

        Args:
            figure: takes counts float64 [..., K, 3] to [...]
            level: of the interval, above 0 and below 1

        Raises:
            OutOfRange: for another level
        """
        if not 0 < level < 1:
            raise OutOfRange(f"an interval of level {level}", allowed="above 0 and below 1")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = figure(self.replicates.cpu().double()).nanquantile(ends).tolist()
        return Interval(float(figure(self.whole.cpu().double())), low, high)

    def compute(self) -> dict[str, Interval]:
        """The intervals of pixel accuracy and mIoU."""
        return {"pixel_accuracy": self.interval(counted_accuracy), "miou": self.interval(counted_miou)}
