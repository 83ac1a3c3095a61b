"""The paper's two-class figures, and the same predictions scored in the usual way.

ConceptAttention (ICML 2025, tables for ImageNet-Segmentation) reports a pixel accuracy and an "mIoU". The reference
code does not count the argmax: it stacks (1 - mask, mask) for prediction and ground truth and histograms the values 0
and 1 of BOTH channels. So a correct pixel is counted as correct twice, once with value 0 and once with value 1; a wrong
pixel is wrong twice:

    mask 1, ground truth 1     channels: prediction (0, 1), ground truth (0, 1)     a hit for value 0, a hit for value 1
    mask 1, ground truth 0     channels: prediction (0, 1), ground truth (1, 0)     no hit for either value

With N pixels, of which A * N are correct, each value has A * N hits, N predictions and N ground truths, so

    IoU of either value = A N / (N + N - A N) = A / (2 - A)

for both "classes", whatever the fraction of foreground. It is a function of the accuracy alone: 0.8307 gives 0.7104,
the published pair. The same holds in every row of the paper's ablations and in most of its ImageNet table (not for the
older relevance methods, nor for ConceptAttention on SD3.5). The `true_miou` is the mean of the IoU of foreground and
background. On VOC the reference counts a single channel, so the published mIoU there is the true one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ca_seg.errors import UserError
from ca_seg.metrics.confusion import miou, pixel_accuracy


@dataclass(frozen=True)
class TwoClassScores:
    """Scores of foreground against background over a dataset, each 0..1."""

    accuracy: float
    paper_miou: float  # A / (2 - A): compare only with the paper's ImageNet-Segmentation tables
    true_miou: float  # mean of the IoU of background and foreground: compare with all other work


def paper_miou(accuracy: float) -> float:
    """The paper's ImageNet-Segmentation "mIoU" from a pixel accuracy A in 0..1: A / (2 - A)."""
    return accuracy / (2 - accuracy)


def two_class_scores(matrix: Tensor) -> TwoClassScores:
    """The paper's figures and the true ones.

    Args:
        matrix: confusion matrix [2, 2]: 0 background, 1 foreground

    Raises:
        UserError: for another shape
    """
    if matrix.shape != (2, 2):
        raise UserError(
            f"the paper's two-class scores of a confusion matrix of shape {tuple(matrix.shape)}",
            allowed="[2, 2]: background, foreground",
        )
    accuracy = float(pixel_accuracy(matrix))
    return TwoClassScores(accuracy, paper_miou(accuracy), float(miou(matrix)))
