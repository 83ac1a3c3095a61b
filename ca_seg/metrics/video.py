"""Scores of video segmentation as DAVIS defines them: region similarity J and boundary measure F.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (CVPR 2016), section 4,
for J, F, mean, recall and decay; Pont-Tuset et al., "The 2017 DAVIS Challenge" (arXiv 1704.00675), section 3, for
several objects. Details that the papers leave open follow the published toolkit (davis2017-evaluation).

    ground truth   . # # .      prediction   . . # #      J = intersection / union = 1 / 3
                                                          F compares outlines only: see `boundary_measure`

per frame ──► mean, recall, decay of each object of a sequence ──► mean over objects

Frames are scored as they come and not stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, hypot
from typing import Literal

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.vocabulary import IGNORE_INDEX

TOLERANCE = 0.008  # of the diagonal
QUARTERS = 4  # parts of a sequence, for the decay


@dataclass(frozen=True)
class Summary:
    """One measure over the frames of an object, or over objects."""

    mean: float  # 0..1
    recall: float  # 0..1: the fraction of frames above 0.5
    decay: float  # -1..1: mean of the first quarter minus mean of the last; low is good


@dataclass(frozen=True)
class ObjectScores:
    """One object of a sequence."""

    object_id: int
    region: Summary  # J
    boundary: Summary  # F


@dataclass(frozen=True)
class SequenceScores:
    """The objects of one sequence."""

    name: str
    frames: int  # number of scored frames
    objects: tuple[ObjectScores, ...]


@dataclass(frozen=True)
class VideoScores:
    """A dataset: the mean over all objects of all sequences."""

    region: Summary  # J
    boundary: Summary  # F

    @property
    def mean(self) -> float:
        """J&F: the mean of the mean J and the mean F."""
        return (self.region.mean + self.boundary.mean) / 2


def region_similarity(prediction: Tensor, ground_truth: Tensor, void: Tensor | None = None) -> Tensor:
    """J, the intersection over union.

    Args:
        prediction: bool [..., H, W]
        ground_truth: bool [..., H, W]
        void: bool [..., H, W], pixels that are not counted

    Returns:
        float64 [...]; 1 where both masks are empty
    """
    _check_shapes(prediction, ground_truth, void)
    if void is not None:
        prediction, ground_truth = prediction & ~void, ground_truth & ~void
    intersection = (prediction & ground_truth).sum((-2, -1)).cpu().double()
    union = (prediction | ground_truth).sum((-2, -1)).cpu().double()
    return torch.where(union == 0, 1.0, intersection / union.clamp(min=1))


def boundary_measure(
    prediction: Tensor, ground_truth: Tensor, void: Tensor | None = None, *, tolerance: float = TOLERANCE
) -> Tensor:
    """F of the outlines.

    With r = ceil(tolerance * diagonal) in pixels, precision P is the fraction of the predicted outline within r of the
    true one, recall R the fraction of the true outline within r of the predicted one, and F = 2 P R / (P + R), 0 when
    both are 0. (A pixel is within r exactly when the other outline, dilated by a disk of radius r, covers it.) F is 1
    if neither mask has an outline and 0 if only one has. Empty masks and masks of the whole image have no outline.

    Args:
        prediction: bool [..., H, W]
        ground_truth: bool [..., H, W]
        void: bool [..., H, W], pixels that are background in both, as in the toolkit
        tolerance: fraction of the diagonal

    Returns:
        float64 [...], 0..1

    Raises:
        BadMask: for other shapes or types
        OutOfRange: for a tolerance outside 0..1
    """
    _check_shapes(prediction, ground_truth, void)
    if not 0 < tolerance < 1:
        raise OutOfRange(f"a tolerance of {tolerance}", allowed="a fraction of the diagonal, above 0 and below 1")
    if void is not None:
        prediction, ground_truth = prediction & ~void, ground_truth & ~void
    height, width = ground_truth.shape[-2:]
    radius = ceil(tolerance * hypot(height, width))
    pairs = zip(*(masks.cpu().numpy().reshape(-1, height, width) for masks in (prediction, ground_truth)), strict=True)
    values = [_outlines_agree(np.argwhere(outline(mask)), np.argwhere(outline(true)), radius) for mask, true in pairs]
    return torch.tensor(values, dtype=torch.float64).reshape(ground_truth.shape[:-2])


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels that differ from their neighbour to the right, below, or below right.

    The outline is one pixel wide, half a pixel to the upper left of the true edge. The border of the image is no edge.

    Args:
        mask: bool [H, W]

    Returns:
        bool [H, W]
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def _outlines_agree(predicted: np.ndarray, true: np.ndarray, radius: int) -> float:
    if len(predicted) == 0 or len(true) == 0:
        return float(len(predicted) == len(true))
    precision = float((KDTree(true).query(predicted)[0] <= radius).mean())
    recall = float((KDTree(predicted).query(true)[0] <= radius).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def summary(per_frame: Sequence[float]) -> Summary:
    """Mean, recall and decay of one measure over time.

    The quarters are those of the toolkit: their ends are rounded to frames, and neighbouring quarters share a frame.

    Args:
        per_frame: 1 or more values

    Raises:
        UserError: for no value
    """
    values = np.asarray(per_frame, float)
    if not len(values):
        raise UserError("scores of a sequence without frames", fix="score at least one frame with a mask")
    ends = np.floor(np.linspace(0, len(values) - 1, QUARTERS + 1) + 0.5 + 1e-10).astype(int)
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    return Summary(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def score_sequence(
    name: str,
    object_ids: Sequence[int],
    pieces: Iterable[tuple[Tensor, Tensor]],
    *,
    frames: Literal["all", "inner"] = "all",
    tolerance: float = TOLERANCE,
    ignore_index: int = IGNORE_INDEX,
) -> SequenceScores:
    """J and F of every object of one sequence.

    Args:
        name: of the sequence
        object_ids: one or more, each once
        pieces: (prediction, ground truth) of some frames at a time, in order, both integers [F, H, W]; a pixel belongs
            to the object whose id it holds. In the ground truth it may also be 0 (background) or `ignore_index`; a
            frame that is all void is not scored
        frames: "all" for zero-shot methods; "inner" without the first frame (which semi-supervised methods are given)
            and the last, as in DAVIS 2016 and the semi-supervised track of 2017
        tolerance: of F, as a fraction of the diagonal
        ignore_index: void

    Returns:
        The scores of each object.

    Raises:
        BadMask: for shapes that do not fit, or an unknown id in the ground truth
        UserError: for object ids that cannot be, another value of `frames`, or when no frame is left
    """
    if frames not in ("all", "inner"):
        raise UserError(f"scores over {frames!r} frames", allowed="'all' or 'inner'")
    ids = list(object_ids)
    if not ids or len(set(ids)) != len(ids) or 0 in ids or ignore_index in ids:
        raise UserError(
            f"object ids {ids} in {name}", allowed=f"one or more, each once, not 0 (background) nor {ignore_index}"
        )
    scored: list[list[tuple[float, float]] | None] = []  # for each frame the J and F of its objects; None: unlabelled
    for prediction, ground_truth in pieces:
        _check_piece(name, ids, prediction, ground_truth, ignore_index)
        for predicted, true in zip(prediction, ground_truth, strict=True):
            void = true == ignore_index
            scored.append(None if void.all() else [_both(predicted == i, true == i, void, tolerance) for i in ids])
    counted = [values for values in (scored if frames == "all" else scored[1:-1]) if values is not None]
    if not counted:
        excluded = " except the first and the last" if frames == "inner" else ""
        raise UserError(f"{name} has no frame with a mask{excluded}", fix="exclude it, or add masks")
    objects = [
        ObjectScores(object_id, *(summary([values[n][measure] for values in counted]) for measure in (0, 1)))
        for n, object_id in enumerate(ids)
    ]
    return SequenceScores(name, len(counted), tuple(objects))


def video_scores(sequences: Iterable[SequenceScores]) -> VideoScores:
    """The scores of a dataset: the mean over all objects of all sequences, the published figure of DAVIS 2017.

    With one object in each sequence it is also the figure of DAVIS 2016.

    Raises:
        UserError: for no sequence
    """
    objects = [scores for sequence in sequences for scores in sequence.objects]
    if not objects:
        raise UserError("scores of no sequence", fix="score one or more sequences")
    return VideoScores(_mean([scores.region for scores in objects]), _mean([scores.boundary for scores in objects]))


def _mean(parts: Sequence[Summary]) -> Summary:
    columns = np.array([(part.mean, part.recall, part.decay) for part in parts]).mean(0).tolist()
    return Summary(*columns)


def _both(prediction: Tensor, ground_truth: Tensor, void: Tensor, tolerance: float) -> tuple[float, float]:
    region = region_similarity(prediction, ground_truth, void)
    return float(region), float(boundary_measure(prediction, ground_truth, void, tolerance=tolerance))


def _check_shapes(prediction: Tensor, ground_truth: Tensor, void: Tensor | None) -> None:
    for what, masks in (("a prediction", prediction), ("void", ground_truth if void is None else void)):
        if masks.shape != ground_truth.shape:
            raise BadMask(
                f"{what} of shape {tuple(masks.shape)} for a ground truth of shape {tuple(ground_truth.shape)}"
            )
        if masks.dtype != torch.bool:
            raise BadMask(f"{what} of type {masks.dtype}", allowed="bool", fix="compare a mask with one object id")


def _check_piece(name: str, ids: list[int], prediction: Tensor, ground_truth: Tensor, ignore_index: int) -> None:
    if ground_truth.ndim != 3 or prediction.shape != ground_truth.shape:
        raise BadMask(
            f"{name}: a prediction of shape {tuple(prediction.shape)} "
            f"for a ground truth of shape {tuple(ground_truth.shape)}",
            allowed="[F, H, W] both",
            fix="resize the prediction to the size of the mask before scoring",
        )
    for what, labels in (("prediction", prediction), ("ground_truth", ground_truth)):
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise BadMask(f"{name}: a {what} of type {labels.dtype}", allowed="integers: object ids")
    unknown = sorted(set(ground_truth.unique().tolist()) - {*ids, 0, ignore_index})
    if unknown:
        raise BadMask(f"{name}: the ground truth has object {unknown[0]}", allowed=f"0, {ids}, {ignore_index} (void)")
