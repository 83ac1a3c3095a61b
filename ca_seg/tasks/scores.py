"""All scores of one protocol, over a stream of images, in constant memory."""

from __future__ import annotations

import torch
from torch import nn

from ca_seg.decision.argmax import MaskPrediction
from ca_seg.metrics.average_precision import MeanAveragePrecision
from ca_seg.metrics.bootstrap import BootstrapIntervals
from ca_seg.metrics.boundary import BoundaryIoU, mean_boundary_iou
from ca_seg.metrics.calibration import CalibrationError
from ca_seg.metrics.confusion import (
    ConfusionMatrix,
    class_iou,
    frequency_weighted_iou,
    mean_accuracy,
    miou,
    pixel_accuracy,
)
from ca_seg.vocabulary import IGNORE_INDEX


class ProtocolScores(nn.Module):
    """One confusion matrix, average precision, Boundary IoU, calibration and bootstrap intervals of K classes.

    Args:
        num_classes: K
        calibrated: the maps are probabilities; where they are raw products, calibration cannot be measured
    """

    def __init__(self, num_classes: int, *, calibrated: bool = True) -> None:
        super().__init__()
        self.calibrated = calibrated
        self.confusion = ConfusionMatrix(num_classes)
        self.precision = MeanAveragePrecision("present")
        self.boundary = BoundaryIoU(num_classes)
        self.calibration = CalibrationError()
        self.intervals = BootstrapIntervals(num_classes)

    def update(
        self, image_id: str, prediction: MaskPrediction, offered: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Count one image.

        Args:
            image_id: of the image
            prediction: the mask, whose values are indices into `offered`
            offered: int64 [K'], the indices of the offered classes, ascending
            mask: ground truth int64 [H, W]

        Returns:
            The predicted class indices [H, W].
        """
        guess = offered[prediction.mask[0]]
        present = mask[mask != IGNORE_INDEX].unique()
        rank = torch.full((256,), IGNORE_INDEX, device=mask.device)  # of a class among those that are present
        rank[present] = torch.arange(len(present), device=mask.device)
        offered_indices = torch.searchsorted(offered, present)
        self.confusion.update(guess, mask)
        self.precision.update(prediction.scores_of(offered_indices), rank[mask][None])
        self.boundary.update(guess, mask)
        self.intervals.update([image_id], guess[None], mask[None])
        if self.calibrated:
            self.calibration.update(prediction.confidence[0], guess, mask)
        return guess

    def figures(self) -> dict[str, float]:
        """All 0..1."""
        matrix = self.confusion.compute()
        figures = {
            "miou": float(miou(matrix)),
            "pixel_accuracy": float(pixel_accuracy(matrix)),
            "mean_accuracy": float(mean_accuracy(matrix)),
            "fwiou": float(frequency_weighted_iou(matrix)),
            "map": float(self.precision.compute()),
            "boundary_iou": float(mean_boundary_iou(self.boundary.compute())),
        }
        return figures | ({"ece": float(self.calibration.compute())} if self.calibrated else {})

    def interval_table(self) -> dict[str, list[float]]:
        """95 % bootstrap intervals over images, [low, high]."""
        return {name: [interval.low, interval.high] for name, interval in self.intervals.compute().items()}

    def reliability(self) -> list[dict[str, float]]:
        """The bins of the reliability plot that hold pixels."""
        if not self.calibrated:
            return []
        with self.calibration.sync_context():
            bins = self.calibration.reliability()
        return [
            {
                "low": float(bins.low[i]),
                "high": float(bins.high[i]),
                "pixels": int(bins.count[i]),
                "confidence": float(bins.confidence[i]),
                "accuracy": float(bins.accuracy[i]),
            }
            for i in range(len(bins.count))
            if bins.count[i]
        ]

    def per_class(self) -> torch.Tensor:
        """IoU of each class [K]; nan for a class with neither ground truth nor prediction."""
        return class_iou(self.confusion.compute())


def image_miou(guess: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean IoU over the classes of the image's ground truth, by which single images are ranked."""
    counted = mask != IGNORE_INDEX
    ground_truth, predicted = mask[counted], guess[counted]
    hits = torch.bincount(ground_truth[ground_truth == predicted], minlength=256)
    true_pixels, predicted_pixels = (torch.bincount(classes, minlength=256) for classes in (ground_truth, predicted))
    present = true_pixels > 0
    return float((hits[present] / (true_pixels + predicted_pixels - hits)[present]).mean())
