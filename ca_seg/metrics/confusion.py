"""One confusion matrix for a whole dataset; every overlap score is read from it.

Scores are taken from the totals of the dataset and not averaged over images, so an image without a class neither
helps nor harms that class, and two halves of a dataset add up to the whole:

                   prediction
                   0   1   2
            0  [   8   1   0 ]     IoU of class 0  =  8 / (8 + 1 + 0 + 2)
    ground truth 1  [   2   5   0 ]                        hit / (row + column - hit)
            2  [   0   0   0 ]     class 2 has neither ground truth nor prediction: its IoU is nan, not 0 and not 1
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from ca_seg.errors import UserError
from ca_seg.metrics.label_checks import check_classes, check_labels, check_pair


class ConfusionMatrix(Metric):
    """Counts pixels by (true class, predicted class) over any number of images.

    `compute` gives int64 [K, K], rows ground truth, columns prediction. Pixels whose target is `ignore_index` (void) are
    never counted, whatever was predicted there. Memory is K * K numbers, however long the dataset. States of several
    processes, or of two halves of a dataset (`merge_state`), are summed.

    Raises UserError for fewer than 1 class, or for an `ignore_index` that is itself a class.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        check_classes("a confusion matrix", num_classes, ignore_index)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add pixels. Both are integers of one shape, any shape: class indices 0..K-1, the target may be void.

        Raises BadMask when the shapes differ, and when a label that is counted lies outside 0..K-1. A prediction has
        no void: leaving a pixel out because the model was unsure would raise the score.
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
        return self.matrix.clone()


def _counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, true pixels and predicted pixels of each class, float64 [K] (on the CPU: some devices lack float64)."""
    exact = matrix.detach().cpu().double()
    return exact.diagonal(), exact.sum(1), exact.sum(0)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """The share of counted pixels that are right, 0..1; nan when there is none. (mmseg: aAcc, detectron2: pACC)"""
    hits, ground_truth, _ = _counts(matrix)
    return hits.sum() / ground_truth.sum()


def class_accuracy(matrix: Tensor) -> Tensor:
    """For each class the share of its true pixels that are right, float64 [K]; nan for a class without ground truth."""
    hits, ground_truth, _ = _counts(matrix)
    return hits / ground_truth


def mean_accuracy(matrix: Tensor) -> Tensor:
    """`class_accuracy`, averaged over the classes that occur in the ground truth. (mmseg: mAcc, detectron2: mACC)"""
    return class_accuracy(matrix).nanmean()


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, float64 [K]; nan for a class with no ground truth and no prediction."""
    hits, ground_truth, predicted = _counts(matrix)
    return hits / (ground_truth + predicted - hits)


def miou(matrix: Tensor, *, over: Literal["union", "ground_truth"] = "union") -> Tensor:
    """Mean IoU, 0..1, over the classes that count; nan when none does.

    `over` says which classes count. The two rules agree unless something is predicted that is nowhere true:

    - "union" (the default): every class with ground truth or prediction. A class that was predicted but is nowhere in the
      dataset counts as 0. This is mmseg's IoUMetric (nanmean over classes) and the rule of published figures.
    - "ground truth": only classes that occur in the ground truth, as detectron2's SemSegEvaluator. Never lower than "union".
    """
    each = class_iou(matrix)
    if over == "union":
        return each.nanmean()
    if over == "ground_truth":
        return each[_counts(matrix)[1] > 0].mean()
    raise UserError(f"mIoU over {over!r}", allowed="'union' or 'ground truth'")


def frequency_weighted_iou(matrix: Tensor) -> Tensor:
    """IoU weighted by how many true pixels a class has, 0..1. (detectron2: fwIoU)"""
    _, ground_truth, _ = _counts(matrix)
    present = ground_truth > 0
    return (class_iou(matrix)[present] * ground_truth[present]).sum() / ground_truth.sum()
