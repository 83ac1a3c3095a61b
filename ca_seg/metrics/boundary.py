"""Boundary IoU: overlap near the edges only, where the IoU of large regions hardly differs between masks.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021). The band
of a mask is its pixels within d of a pixel outside it, d = 2 % of the image's diagonal; Boundary IoU is the IoU of
the band of the prediction and the band of the ground truth:

    mask   # # # # #     band, d = 1   # # # # #     Distance is counted as erosions by a 3 x 3 square count it:
           # # # # #                   # . . . #     diagonal steps are 1. The border of the image is an edge,
           # # # # #                   # # # # #     as in the authors' code.

The paper scores objects. Here, as for IoU, intersection and union of each class are summed over the dataset.

Void (`ignore_index`) is outside every class, in the ground truth and, at the same pixels, in the prediction; no void
pixel is in a band. So a class has an edge where it meets void, in both masks alike, and what is predicted on void
changes nothing. The video scores (DAVIS) have the same rule.
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
from ca_seg.vocabulary import IGNORE_INDEX

DILATION = 0.02  # of the diagonal
_VOID, _OUTSIDE = -1, -2  # labels that are not classes: void pixels, and pixels outside the image


def band_width(height: int, width: int, dilation: float = DILATION) -> int:
    """d in pixels for an image of this size, 1 or more."""
    return max(1, round(dilation * hypot(height, width)))


def boundary_band(labels: np.ndarray, width: int) -> np.ndarray:
    """The pixels near another label or near the border of the image: the bands of all classes at once.

    Classes do not overlap, so a pixel is in the band of its class exactly when the square of 2 * width + 1 pixels
    around it has more than one label.

    Args:
        labels: integers [H, W]
        width: of the band, in pixels

    Returns:
        bool [H, W]
    """
    square = {"size": 2 * width + 1, "mode": "constant", "cval": _OUTSIDE}
    return maximum_filter(labels, **square) != minimum_filter(labels, **square)


class BoundaryIoU(Metric):
    """Boundary IoU of each class over any number of images of any sizes.

    `compute` gives float64 [K], NaN for a class with no band in ground truth and prediction; `mean_boundary_iou`
    averages. Memory is 2 * K numbers. States of several processes are summed as integers.

    Args:
        num_classes: K
        ignore_index: void
        dilation: width of the band as a fraction of the diagonal of the image

    Raises:
        UserError: as ConfusionMatrix
        OutOfRange: for a dilation outside 0..1
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    intersection: Tensor
    union: Tensor

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX, dilation: float = DILATION) -> None:
        super().__init__()
        check_classes("Boundary IoU", num_classes, ignore_index)
        if not 0 < dilation < 1:
            raise OutOfRange(f"a dilation of {dilation}", allowed="a fraction of the diagonal, above 0 and below 1")
        self.num_classes, self.ignore_index, self.dilation = num_classes, ignore_index, dilation
        self.add_state("intersection", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("union", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add whole images in the size of their masks; the width of the band depends on H and W.

        Args:
            prediction: integers [H, W] or [B, H, W], class indices
            target: likewise, class indices or `ignore_index`

        Raises:
            BadMask: as ConfusionMatrix
        """
        if target.ndim not in (2, 3):
            raise BadMask(f"a target of shape {tuple(target.shape)}", allowed="[H, W] or [B, H, W], whole images")
        counted = counted_pixels(prediction, target, self.num_classes, self.ignore_index)
        width = band_width(target.shape[-2], target.shape[-1], self.dilation)
        intersection, union = np.zeros((2, self.num_classes), np.int64)
        pairs = [
            torch.where(counted, labels, _VOID).to(torch.int32).cpu().numpy().reshape(-1, *target.shape[-2:])
            for labels in (prediction.long(), target.long())
        ]
        for predicted, ground_truth in zip(*pairs, strict=True):
            valid = ground_truth != _VOID
            predicted_band, true_band = (boundary_band(labels, width) & valid for labels in (predicted, ground_truth))
            in_both = predicted_band & true_band & (predicted == ground_truth)
            hits = self._per_class(ground_truth[in_both])
            intersection += hits
            union += self._per_class(predicted[predicted_band]) + self._per_class(ground_truth[true_band]) - hits
        self.intersection += torch.from_numpy(intersection).to(self.intersection.device)
        self.union += torch.from_numpy(union).to(self.union.device)

    def _per_class(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=self.num_classes)

    def compute(self) -> Tensor:
        """Boundary IoU of each class."""
        return self.intersection.cpu().double() / self.union.cpu()


def mean_boundary_iou(class_scores: Tensor) -> Tensor:
    """The mean of `BoundaryIoU.compute()` over the classes with a band; NaN when there is none."""
    return class_scores.nanmean()
