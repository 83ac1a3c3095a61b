"""How commit 17d05c6 decided, scored and described a segmentation, to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from unittest.mock import patch

import numpy as np
import torch

from ca_seg.decision.argmax import MaskPrediction, predict_mask
from ca_seg.decision.candidates import possible_classes
from ca_seg.jobs import segmentation
from ca_seg.metrics.bootstrap import BootstrapIntervals, poisson_weights
from ca_seg.metrics.label_checks import counted_pixels


def _winners(prediction: MaskPrediction) -> tuple[torch.Tensor, torch.Tensor]:
    if prediction.maps.shape[1] * prediction.height * prediction.width < 2**24:
        score, index = prediction.scores.max(dim=1)
        return score, index
    classes = possible_classes(prediction.maps)
    candidates = predict_mask(prediction.maps[:, classes], prediction.height, prediction.width)
    strips = [scores.max(dim=1) for _, _, scores in candidates.strips(2**27)]
    return torch.cat([s.values for s in strips], dim=1), classes[torch.cat([s.indices for s in strips], dim=1)]


def _class_scores(maps: torch.Tensor, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    scores = predict_mask(maps[None], height, width).scores[0].float().cpu().numpy()
    scores = np.concatenate([scores])
    means = np.array([plane.mean() for plane in scores])
    return means, np.array([plane.max() for plane in scores])


def _count(metric: BootstrapIntervals, image_ids: list[str], prediction: torch.Tensor, target: torch.Tensor) -> None:
    counted = counted_pixels(prediction, target, metric.num_classes, metric.ignore_index)
    for image_id, predicted, ground_truth, valid in zip(image_ids, prediction, target, counted, strict=True):
        predicted, ground_truth = predicted[valid].long(), ground_truth[valid].long()
        parts = [
            torch.bincount(x, minlength=metric.num_classes)
            for x in (ground_truth[predicted == ground_truth], ground_truth, predicted)
        ]
        counts = torch.stack(parts, dim=-1)
        weights = poisson_weights.__wrapped__(image_id, replicates=len(metric.replicates), seed=metric.seed)
        metric.whole += counts
        metric.replicates += weights.to(counts.device)[:, None, None] * counts


@contextmanager
def as_before() -> Iterator[None]:
    """Inside, decisions, bootstrap counts and the scores of a segmentation are computed as before."""
    winners = cached_property(_winners)
    winners.__set_name__(MaskPrediction, "_winners")
    with (
        patch.object(MaskPrediction, "_winners", winners),
        patch.object(segmentation, "class_scores", _class_scores),
        patch.object(BootstrapIntervals, "update", _count),
    ):
        yield
