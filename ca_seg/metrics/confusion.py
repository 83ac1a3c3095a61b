"""One confusion matrix for a whole dataset; every overlap score is read from it.

Scores come from the totals of the dataset and are not averaged over images. So an image without a class does not change
the score of that class, and the matrices of two halves of a dataset add up to that of the whole:

                        prediction
                        0   1   2
                 0  [   8   1   0 ]     IoU of class 0  =  8 / (8 + 1 + 0 + 2)
    ground truth 1  [   2   5   0 ]                        hits / (row + column - hits)
                 2  [   0   0   0 ]     class 2 has no ground truth and no prediction: its IoU is NaN, not 0 or 1
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import UserError
from ca_seg.metrics.label_checks import check_classes, check_labels, check_pair
from ca_seg.vocabulary import IGNORE_INDEX


class ConfusionMatrix(Metric):
    """Counts of pixels by (true class, predicted class) over any number of images.

    `compute` gives int64 [K, K], rows ground truth, columns prediction. Void pixels of the target are never counted,
    whatever was predicted there. Memory is K * K numbers. States of several processes, or of two halves of a dataset
    (`merge_state`), are summed.

    Args:
        num_classes: K
        ignore_index: void, not one of the classes

    Raises:
        UserError: for fewer than 1 class, or for an `ignore_index` that is also a class
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        check_classes("a confusion matrix", num_classes, ignore_index)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add pixels. Both arguments have one shape, any shape.

        A prediction cannot be void: to exclude pixels with a low confidence would raise the score.

        Args:
            prediction: integers, class indices 0..K-1
            target: integers, class indices or `ignore_index`

        Raises:
            BadMask: when the shapes differ, or when a counted label lies outside 0..K-1
        """
        check_pair(prediction, target)
        counted = target != self.ignore_index
        rows, columns = target[counted].long(), prediction[counted].long()
        if rows.numel() == 0:
            return
        check_labels(columns, rows, self.num_classes, self.ignore_index)
        size = self.num_classes
        self.matrix += torch.bincount(rows * size + columns, minlength=size * size).view(size, size)

    def compute(self) -> Tensor:
        """The matrix so far."""
        return self.matrix.clone()


def _counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, true pixels and predicted pixels of each class, float64 [K] (on the CPU, as some devices lack float64)."""
    exact = matrix.detach().cpu().double()
    return exact.diagonal(), exact.sum(1), exact.sum(0)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """The fraction of counted pixels that are correct, 0..1; NaN without a pixel. (mmseg: aAcc, detectron2: pACC)"""
    hits, ground_truth, _ = _counts(matrix)
    return hits.sum() / ground_truth.sum()


def class_accuracy(matrix: Tensor) -> Tensor:
    """For each class the fraction of its true pixels that are correct, float64 [K]; NaN without ground truth."""
    hits, ground_truth, _ = _counts(matrix)
    return hits / ground_truth


def mean_accuracy(matrix: Tensor) -> Tensor:
    """The mean of `class_accuracy` over the classes in the ground truth. (mmseg: mAcc, detectron2: mACC)"""
    return class_accuracy(matrix).nanmean()


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, float64 [K]; NaN for a class without ground truth and prediction."""
    hits, ground_truth, predicted = _counts(matrix)
    return hits / (ground_truth + predicted - hits)


def miou(matrix: Tensor, *, over: Literal["union", "ground_truth"] = "union") -> Tensor:
    """Mean IoU, 0..1; NaN when no class counts.

    Args:
        matrix: [K, K]
        over: which classes count. The two rules differ only if a predicted class is nowhere in the ground truth.
            "union": all classes with ground truth or prediction, so that such a class counts as 0; this is mmseg's
            IoUMetric (nanmean over classes) and the rule of published figures. "ground_truth": only classes in the
            ground truth, as in detectron2's SemSegEvaluator; never lower than "union".

    Raises:
        UserError: for another rule
    """
    scores = class_iou(matrix)
    if over == "union":
        return scores.nanmean()
    if over == "ground_truth":
        return scores[_counts(matrix)[1] > 0].mean()
    raise UserError(f"mIoU over {over!r}", allowed="'union' or 'ground_truth'")


def frequency_weighted_iou(matrix: Tensor) -> Tensor:
    """The mean IoU weighted by the true pixels of each class, 0..1. (detectron2: fwIoU)"""
    _, ground_truth, _ = _counts(matrix)
    present = ground_truth > 0
    return (class_iou(matrix)[present] * ground_truth[present]).sum() / ground_truth.sum()
