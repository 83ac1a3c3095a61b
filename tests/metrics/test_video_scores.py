"""J and F against loops over pixels, against OpenCV's dilation, and against cases worked out by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.metrics.video import (
    ObjectScores,
    SequenceScores,
    Summary,
    boundary_measure,
    outline,
    region_similarity,
    score_sequence,
    summary,
    video_scores,
)


def square(size: int, top: int, left: int, side: int) -> torch.Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def slow_outline(mask: list[list[int]]) -> set[tuple[int, int]]:
    """A pixel is on the outline when one of those right, below and below right of it (in the image) differs."""
    height, width = len(mask), len(mask[0])
    pixels = set()
    for y in range(height):
        for x in range(width):
            for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                v, u = min(v, height - 1), min(u, width - 1)
                if mask[v][u] != mask[y][x]:
                    pixels.add((y, x))
    return pixels


def slow_scores(prediction, ground_truth, void, tolerance=0.008) -> tuple[float, float]:
    """J and F of one frame by loops; the outline is dilated by writing disks."""
    height, width = ground_truth.shape
    predicted = [[int(p and not v) for p, v in zip(*rows, strict=True)] for rows in zip(prediction, void, strict=True)]
    labelled = [[int(t and not v) for t, v in zip(*rows, strict=True)] for rows in zip(ground_truth, void, strict=True)]
    pairs = [(predicted[y][x], labelled[y][x]) for y in range(height) for x in range(width)]
    shared, either = sum(p and t for p, t in pairs), sum(p or t for p, t in pairs)
    j = shared / either if either else 1.0
    a, b = slow_outline(predicted), slow_outline(labelled)
    if not a and not b:
        return j, 1.0
    if not a or not b:
        return j, 0.0
    radius = math.ceil(tolerance * math.sqrt(height**2 + width**2))
    steps = range(-radius, radius + 1)
    disk = [(v, u) for v in steps for u in steps if v * v + u * u <= radius * radius]
    wide_a = {(y + v, x + u) for y, x in a for v, u in disk}
    wide_b = {(y + v, x + u) for y, x in b for v, u in disk}
    precision, recall = len(a & wide_b) / len(a), len(b & wide_a) / len(b)
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth random shapes."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 2)
    return noise > rng.normal() * noise.std() / 2


@pytest.mark.parametrize("tolerance", [0.008, 0.1, 0.25])
def test_j_and_f_equal_loops_over_pixels(tolerance):
    rng = np.random.default_rng(0)
    cases = []
    for height, width in [(1, 1), (1, 9), (9, 1), (2, 2), (7, 12), (16, 11), (23, 23)]:
        for void_fraction in (0.0, 0.3):
            cases += [
                (blobs(rng, height, width), blobs(rng, height, width), rng.random((height, width)) < void_fraction)
            ]
            cases += [(*(rng.random((2, height, width)) < 0.5), rng.random((height, width)) < void_fraction)]
    for prediction, ground_truth, void in cases:
        tensors = [torch.from_numpy(part) for part in (prediction, ground_truth, void)]
        j, f = slow_scores(prediction, ground_truth, void, tolerance)
        assert float(region_similarity(*tensors)) == pytest.approx(j, abs=1e-12)
        assert float(boundary_measure(*tensors, tolerance=tolerance)) == pytest.approx(f, abs=1e-12)


def test_f_equals_dilation_with_a_disk_at_the_size_of_davis():
    """854 x 480: the disk has a radius of 8. The outlines are dilated by OpenCV."""
    rng = np.random.default_rng(1)
    ground_truth = cv2.resize(blobs(rng, 24, 40).astype(np.uint8), (854, 480)) > 0
    prediction = np.roll(ground_truth, (5, -7), (0, 1)) ^ (cv2.resize(rng.random((48, 80)), (854, 480)) > 0.9)
    radius = math.ceil(0.008 * math.hypot(480, 854))
    assert radius == 8
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (y**2 + x**2 <= radius**2).astype(np.uint8)
    a, b = (outline(mask).astype(np.uint8) for mask in (prediction, ground_truth))
    precision, recall = (a & cv2.dilate(b, disk)).sum() / a.sum(), (b & cv2.dilate(a, disk)).sum() / b.sum()
    assert 0.1 < precision < 0.9
    value = boundary_measure(torch.from_numpy(prediction), torch.from_numpy(ground_truth))
    assert float(value) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


def test_a_shifted_square_by_hand():
    """Squares of 4 x 4, one pixel apart, in an image of 20 x 20, where the tolerance is 1 pixel."""
    ground_truth = square(20, 8, 8, 4)
    assert float(region_similarity(square(20, 8, 9, 4), ground_truth)) == pytest.approx(12 / 20)
    assert float(boundary_measure(square(20, 8, 9, 4), ground_truth)) == 1
    assert float(boundary_measure(square(20, 8, 14, 4), ground_truth)) == 0
    assert float(region_similarity(square(20, 8, 14, 4), ground_truth)) == 0
    # 3 pixels to the right the outlines, rings of 16 pixels in columns 7 to 11 and 10 to 14, share rows 7 and 11:
    # there 2 pixels lie on the other ring (columns 10, 11), 1 beside its end; and 3 in column 10 are 1 from column 11.
    assert float(boundary_measure(square(20, 8, 11, 4), ground_truth)) == pytest.approx((2 * 3 + 3) / 16)


def test_the_outline_by_hand():
    image = outline(square(6, 2, 2, 2).numpy()).astype(int)
    assert image.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert not outline(np.ones((4, 5), bool)).any()


def test_empty_masks():
    empty, some, full = torch.zeros(9, 9, dtype=torch.bool), square(9, 3, 3, 3), torch.ones(9, 9, dtype=torch.bool)
    for measure in (region_similarity, boundary_measure):
        assert float(measure(empty, empty)) == 1
        assert float(measure(empty, some)) == float(measure(some, empty)) == 0
        assert float(measure(some, some)) == float(measure(full, full)) == 1
        assert float(measure(some, empty, void=some)) == 1


def test_many_masks_at_once_are_each_scored():
    rng = np.random.default_rng(2)
    predictions, ground_truths = (torch.from_numpy(rng.random((2, 3, 8, 9)) < 0.5) for _ in range(2))
    for measure in (region_similarity, boundary_measure):
        values = measure(predictions, ground_truths)
        assert values.shape == (2, 3)
        assert values.dtype == torch.float64
        assert values[1, 2] == measure(predictions[1, 2], ground_truths[1, 2])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 40, 79, 300])
def test_mean_recall_and_decay(count):
    """The quarters of the toolkit: frame numbers from 1, ends rounded half up, the end frames in both quarters."""
    values = np.random.default_rng(count).random(count).tolist()
    ends = [math.floor(1 + (count - 1) * quarter / 4 + 0.5) for quarter in range(5)]
    first = [values[frame - 1] for frame in range(ends[0], ends[1] + 1)]
    last = [values[frame - 1] for frame in range(ends[3], ends[4] + 1)]
    got = summary(values)
    assert got.mean == pytest.approx(sum(values) / count)
    assert got.recall == pytest.approx(sum(value > 0.5 for value in values) / count)
    assert got.decay == pytest.approx(sum(first) / len(first) - sum(last) / len(last))


def test_decay_and_recall_by_hand():
    assert summary([1, 1, 0.5, 0.5, 0, 0, 0, 0]) == Summary(0.375, 0.25, pytest.approx((1 + 1 + 0.5) / 3))
    assert summary([0.5, 0.5]).recall == 0
    assert summary([0, 0, 0, 0, 0.9]).decay == pytest.approx(-0.45)


def clip(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and ground truths of two objects (3 and 7), with some void."""
    rng = np.random.default_rng(seed)
    ids = np.array([0, 3, 7, 255])
    ground_truth = ids[np.stack([blobs(rng, 14, 17) + 2 * blobs(rng, 14, 17) for _ in range(count)])]
    guess = np.where(rng.random(ground_truth.shape) < 0.2, 0, np.roll(ground_truth, 1, -1))
    return torch.from_numpy(guess), torch.from_numpy(ground_truth)


@pytest.mark.parametrize(("frames", "scored_frames"), [("all", slice(None)), ("inner", slice(1, -1))])
@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_a_sequence_equals_loops_however_it_is_cut(frames, scored_frames, at_once):
    guess, ground_truth = clip(0, 9)
    ground_truth[5] = 255  # unlabelled
    pieces = ((guess[n : n + at_once], ground_truth[n : n + at_once]) for n in range(0, 9, at_once))
    scores = score_sequence("clip", (3, 7), pieces, frames=frames)
    numbers = [n for n in range(9)[scored_frames] if n != 5]
    assert (scores.name, scores.frames) == ("clip", len(numbers))
    for scored, number in zip(scores.objects, (3, 7), strict=True):
        expected = [
            slow_scores(*(m[n].numpy() == number for m in (guess, ground_truth)), ground_truth[n] == 255)
            for n in numbers
        ]
        assert scored.object_id == number
        assert scored.region.mean == pytest.approx(np.mean([j for j, _ in expected]))
        assert scored.boundary.mean == pytest.approx(np.mean([f for _, f in expected]))
        assert scored.region.recall == pytest.approx(np.mean([j > 0.5 for j, _ in expected]))


def test_the_dataset_is_the_mean_over_objects():
    def scored(name: str, *means: float) -> SequenceScores:
        parts = [Summary(mean, mean / 2, -mean) for mean in means]
        return SequenceScores(name, 5, tuple(ObjectScores(n, part, part) for n, part in enumerate(parts, 1)))

    sequences = [scored("crowd", 0.1, 0.2, 0.3), scored("one", 0.8)]
    objects = video_scores(iter(sequences))
    assert objects.region.mean == objects.mean == pytest.approx(1.4 / 4)
    assert objects.boundary.recall == pytest.approx(0.7 / 4)
    assert objects.boundary.decay == pytest.approx(-1.4 / 4)


def test_memory_does_not_grow_with_the_length():
    """While a long sequence runs, the masks of earlier frames are gone."""
    import weakref

    alive: list[weakref.ref] = []
    max_alive = 0

    def pieces():
        nonlocal max_alive
        for _ in range(20):
            ground_truth = torch.ones(1, 30, 30, dtype=torch.int64)
            alive.append(weakref.ref(ground_truth))
            max_alive = max(max_alive, sum(mask() is not None for mask in alive))
            yield ground_truth, ground_truth

    assert score_sequence("long", (1,), pieces()).objects[0].region.mean == 1
    assert max_alive <= 3


def test_invalid_input_raises():
    guess, ground_truth = clip(1, 3)
    with pytest.raises(BadMask, match=r"\b7\b"):
        score_sequence("clip", [3], [(guess, ground_truth)])
    with pytest.raises(BadMask, match=r"\(3, 14, 16\).*\(3, 14, 17\)"):
        score_sequence("clip", [3, 7], [(guess[..., 1:], ground_truth)])
    with pytest.raises(BadMask, match=r"clip.*torch\.float32"):
        score_sequence("clip", [3, 7], [(guess.float(), ground_truth)])
    for ids in ([], [0], [255], [3, 3]):
        with pytest.raises(UserError, match="clip"):
            score_sequence("clip", ids, [(guess, ground_truth)])
    with pytest.raises(UserError, match="clip"):
        score_sequence("clip", [3, 7], [(guess[:2], ground_truth[:2])], frames="inner")
    with pytest.raises(UserError, match="clip"):
        score_sequence("clip", [3, 7], [])
    with pytest.raises(UserError, match="'middle'"):
        score_sequence("clip", [3, 7], [(guess, ground_truth)], frames="middle")
    with pytest.raises(UserError):
        video_scores([])
    with pytest.raises(OutOfRange, match="8"):
        boundary_measure(ground_truth == 3, ground_truth == 3, tolerance=8)
    with pytest.raises(BadMask, match="bool"):
        region_similarity(guess, ground_truth == 3)
    with pytest.raises(BadMask, match=r"\(14, 17\)"):
        region_similarity(guess == 3, ground_truth == 3, ground_truth[0] == 255)
