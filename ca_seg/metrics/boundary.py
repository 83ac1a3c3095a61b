"""Boundary IoU: overlap counted only near the edges, where IoU of large regions no longer tells masks apart.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021). The band
of a mask is its pixels within d of a pixel outside it, d = 2 % of the image's diagonal; Boundary IoU is the IoU of
the band of the prediction and the band of the ground truth:

    mask   # # # # #     band, d = 1   # # # # #     Distance is counted as erosions by a 3 x 3 square count it:
           # # # # #                   # . . . #     diagonal steps are 1. The border of the image is an edge,
           # # # # #                   # # # # #     as in the authors' code.

The paper scores objects. Here, as for IoU, intersection and union of each class are summed over the dataset.

Void (`ignore_index`) is outside every class, in the ground truth and, at the same pixels, in the prediction; no void pixel is
in a band. So a class has an edge where it meets void, in both masks alike, and what is predicted on void changes
nothing. This is the rule of the video scores too (DAVIS).
"""

from __future__ import annotations

from math import hypot

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import BadMask, OutOfRange
from ca_seg.metrics.label_checks import check_classes, counted_pixels

DILATION = 0.02  # of the diagonal
_VOID, _OUTSIDE = -1, -2  # labels that are no class


def band_width(height: int, width: int, dilation: float = DILATION) -> int:
    """d in pixels for an image of this size, 1 or more."""
    return max(1, round(dilation * hypot(height, width)))


def boundary_band(labels: np.ndarray, width: int) -> np.ndarray:
    """The pixels of integer [H, W] within `width` of another label, or of the border of the image: bool [H, W].

    These are the bands of all classes at once, for classes do not overlap: a pixel is in its class's band exactly when
    the square of 2 * width + 1 pixels around it is not all one label.
    """
    square = {"size": 2 * width + 1, "mode": "constant", "cval": _OUTSIDE}
    return maximum_filter(labels, **square) != minimum_filter(labels, **square)


class BoundaryIoU(Metric):
    """Boundary IoU of each class over any number of images, of any sizes.

    `compute` gives float64 [K], nan for a class with no band in ground truth and prediction; `mean_boundary_iou` averages.
    Memory is 2 * K numbers. States of several processes are summed, in whole pixels.

    Raises UserError as ConfusionMatrix does, and OutOfRange for a `dilation` that is no share of the diagonal.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    intersection: Tensor
    union: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255, dilation: float = DILATION) -> None:
        super().__init__()
        check_classes("Boundary IoU", num_classes, ignore_index)
        if not 0 < dilation < 1:
            raise OutOfRange(f"a dilation of {dilation}", allowed="a share of the diagonal, above 0 and below 1")
        self.num_classes, self.ignore_index, self.dilation = num_classes, ignore_index, dilation
        self.add_state("intersection", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("union", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add images in the size of their masks: integers [H, W] or [B, H, W]; the target may be void.

        d follows from H and W, so an image must come whole and not cut up. Raises BadMask as ConfusionMatrix does.
        """
        if target.ndim not in (2, 3):
            raise BadMask(f"a target of shape {tuple(target.shape)}", allowed="[H, W] or [B, H, W], whole images")
        counted = counted_pixels(prediction, target, self.num_classes, self.ignore_index)
        width = band_width(target.shape[-2], target.shape[-1], self.dilation)
        shared, either = np.zeros((2, self.num_classes), np.int64)
        pairs = [
            torch.where(counted, labels, _VOID).to(torch.int32).cpu().numpy().reshape(-1, *target.shape[-2:])
            for labels in (prediction.long(), target.long())
        ]
        for guess, ground_truth in zip(*pairs, strict=True):
            seen = ground_truth != _VOID
            guess_band, ground_truth_band = (boundary_band(labels, width) & seen for labels in (guess, ground_truth))
            both = guess_band & ground_truth_band & (guess == ground_truth)
            hits = self._per_class(ground_truth[both])
            shared += hits
            either += self._per_class(guess[guess_band]) + self._per_class(ground_truth[ground_truth_band]) - hits
        self.intersection += torch.from_numpy(shared).to(self.intersection.device)
        self.union += torch.from_numpy(either).to(self.union.device)

    def _per_class(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=self.num_classes)

    def compute(self) -> Tensor:
        return self.intersection.cpu().double() / self.union.cpu()


def mean_boundary_iou(each: Tensor) -> Tensor:
    """The mean of `BoundaryIoU.compute()` over the classes with a band in ground truth or prediction; nan when none has."""
    return each.nanmean()
