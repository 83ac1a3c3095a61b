"""Everything that is counted of one protocol, over a stream of images, in memory that does not grow."""

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


class ProtocolScores(nn.Module):
    """One confusion matrix, average precision, Boundary IoU, calibration and bootstrap intervals of K classes.

    Calibration asks that maps are shares of 1; without (raw products), `calibrated` is False and it is left out.
    """

    def __init__(self, num_classes: int, *, calibrated: bool = True) -> None:
        super().__init__()
        self.calibrated = calibrated
        self.confusion = ConfusionMatrix(num_classes)
        self.precision = MeanAveragePrecision("present")
        self.boundary = BoundaryIoU(num_classes)
        self.calibration = CalibrationError()
        self.intervals = BootstrapIntervals(num_classes)

    def update(self, image_id: str, decided: MaskPrediction, offered: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Add one image: its decision over the `offered` classes, its ground truth [H, W]. Gives the classes [H, W]."""
        guess = offered[decided.mask[0]]
        present = mask[mask != 255].unique()
        place = torch.full((256,), 255, device=mask.device)
        place[present] = torch.arange(len(present), device=mask.device)
        among = torch.searchsorted(offered, present)
        self.confusion.update(guess, mask)
        self.precision.update(decided.scores_of(among), place[mask][None])
        self.boundary.update(guess, mask)
        self.intervals.update([image_id], guess[None], mask[None])
        if self.calibrated:
            self.calibration.update(decided.confidence[0], guess, mask)
        return guess

    def figures(self) -> dict[str, float]:
        """All 0..1."""
        matrix = self.confusion.compute()
        found = {
            "miou": float(miou(matrix)),
            "pixel_accuracy": float(pixel_accuracy(matrix)),
            "mean_accuracy": float(mean_accuracy(matrix)),
            "fwiou": float(frequency_weighted_iou(matrix)),
            "map": float(self.precision.compute()),
            "boundary_iou": float(mean_boundary_iou(self.boundary.compute())),
        }
        return found | ({"ece": float(self.calibration.compute())} if self.calibrated else {})

    def interval_table(self) -> dict[str, list[float]]:
        """95 % bootstrap intervals over images, [low, high]."""
        return {name: [found.low, found.high] for name, found in self.intervals.compute().items()}

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
        return class_iou(self.confusion.compute())


def image_miou(guess: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean IoU over the classes that are in the image's ground truth: what a single image is ranked by."""
    counted = mask != 255
    ground_truth, found = mask[counted], guess[counted]
    hits = torch.bincount(ground_truth[ground_truth == found], minlength=256)
    in_ground_truth, in_guess = torch.bincount(ground_truth, minlength=256), torch.bincount(found, minlength=256)
    there = in_ground_truth > 0
    return float((hits[there] / (in_ground_truth + in_guess - hits)[there]).mean())
