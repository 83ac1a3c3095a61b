"""How sure is a score? 95 % intervals over images, without keeping the images.

A figure such as mIoU is made of sums over images. The bootstrap asks how it would come out on another draw of
images: draw N of the N images with replacement, sum again, R times over. An image is then in a draw 0, 1, 2 ...
times, for large N a Poisson number of mean 1, independent of the others. Taking that number as the image's weight
(Hanley and MacGibbon 2006; Chamandy et al. 2012) needs one pass and no list of images:

    image         counts       weight in replicate  1   2   3  ...  R
    street_01     [K, 3]                            1   0   2       1       replicate r = sum of weight * counts
    street_02     [K, 3]                            0   1   1       3       interval = 2.5 % and 97.5 % points of the
       ...                                                                  figure over the R replicates

A weight follows from (seed, name of the image, r) alone, so neither order nor batches nor processes matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange
from ca_seg.metrics.label_checks import check_classes, counted_pixels

LEVEL = 0.95
_AT_MOST = pdtr(np.arange(19), 1.0)  # chance of a Poisson(1) number of 0 or less, 1 or less, ...; 18: 1 in float64

Figure = Callable[[Tensor], Tensor]  # counts float64 [..., K, 3] to [...]


class Interval(NamedTuple):
    """A figure with its bootstrap interval. (A tuple, for torchmetrics cannot carry a frozen dataclass.)"""

    value: float  # over all images, each once
    low: float
    high: float


def counted_accuracy(counts: Tensor) -> Tensor:
    """Pixel accuracy from (hits, ground truth, predicted) [..., K, 3]: [...]; nan without a pixel."""
    hits, ground_truth, _ = counts.unbind(-1)
    return hits.sum(-1) / ground_truth.sum(-1)


def counted_miou(counts: Tensor) -> Tensor:
    """mIoU from (hits, ground truth, predicted) [..., K, 3], over classes with ground truth or prediction: [...]."""
    hits, ground_truth, predicted = counts.unbind(-1)
    return (hits / (ground_truth + predicted - hits)).nanmean(-1)


def poisson_weights(image_id: str, *, replicates: int, seed: int = 0) -> Tensor:
    """How often the image `stem` is in each of R replicates: int64 [R], 0 or more, mean 1.

    Made of a hash (SHAKE-128) and not of a random generator: the same on every machine and library version.
    """
    digest = hashlib.shake_128(f"{seed}:{image_id}".encode("utf-8", "surrogateescape")).digest(8 * replicates)
    uniform = (np.frombuffer(digest, "<u8") >> np.uint64(11)) * 2.0**-53
    return torch.from_numpy(np.searchsorted(_AT_MOST, uniform, side="right").astype(np.int64))


class BootstrapIntervals(Metric):
    """Intervals of any figure made of the classes' hits, true and predicted pixels, in memory of R * K * 3 numbers.

    `compute` gives {"pixel_accuracy": Interval, "miou": Interval}; `interval(figure)` any other. States of several
    processes are summed, in whole pixels: the same replicates as in one process, to the bit.

    Images must have names of their own: two with one name would always be drawn together, and intervals be too
    wide. The interval is that of the images only; noise of the method (its seeds) is not in it.

    Raises UserError as ConfusionMatrix does, OutOfRange for fewer than 40 replicates (no 2.5 % point below that).
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    whole: Tensor
    replicates: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255, replicates: int = 200, seed: int = 0) -> None:
        super().__init__()
        check_classes("a bootstrap", num_classes, ignore_index)
        if replicates < 40:
            raise OutOfRange(f"a bootstrap of {replicates} replicates", allowed="40 or more")
        self.num_classes, self.ignore_index, self.seed = num_classes, ignore_index, seed
        whole = torch.zeros(num_classes, 3, dtype=torch.int64)
        self.add_state("whole", whole, dist_reduce_fx="sum")
        self.add_state("replicates", whole.repeat(replicates, 1, 1), dist_reduce_fx="sum")

    def update(self, image_ids: Sequence[str], prediction: Tensor, target: Tensor) -> None:
        """Add B images with their names: integers [B, H, W] both; the target may be void.

        Raises BadMask as ConfusionMatrix does, and for a number of names other than B.
        """
        if isinstance(image_ids, str) or len(image_ids) != len(target):
            raise BadMask(f"names {image_ids!r} for {len(target)} images", allowed="a list with one name per image")
        counted = counted_pixels(prediction, target, self.num_classes, self.ignore_index)
        for image_id, guess, ground_truth, seen in zip(image_ids, prediction, target, counted, strict=True):
            guess, ground_truth = guess[seen].long(), ground_truth[seen].long()
            parts = [
                torch.bincount(x, minlength=self.num_classes)
                for x in (ground_truth[guess == ground_truth], ground_truth, guess)
            ]
            counts = torch.stack(parts, dim=-1)
            weights = poisson_weights(image_id, replicates=len(self.replicates), seed=self.seed)
            self.whole += counts
            self.replicates += weights.to(counts.device)[:, None, None] * counts

    def interval(self, figure: Figure, level: float = LEVEL) -> Interval:
        """The percentile interval of a figure; `figure` takes counts float64 [..., K, 3] to [...].

        Replicates in which the figure is nan (with a handful of images one may hold none) are left out.
        """
        if not 0 < level < 1:
            raise OutOfRange(f"an interval of level {level}", allowed="above 0 and below 1")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = figure(self.replicates.cpu().double()).nanquantile(ends).tolist()
        return Interval(float(figure(self.whole.cpu().double())), low, high)

    def compute(self) -> dict[str, Interval]:
        return {"pixel_accuracy": self.interval(counted_accuracy), "miou": self.interval(counted_miou)}
