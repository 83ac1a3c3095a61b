"""Pieces of rows are, bit for bit, those of the image that torch resizes at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from ca_seg.decision.rows import ScoreRows, resized_rows
from ca_seg.decision.strips import strips


def random_maps(batch, classes, height, width, sharpness=3.0):
    generator = torch.Generator().manual_seed(classes)
    return (sharpness * torch.randn(batch, classes, height, width, generator=generator)).softmax(dim=1)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 9, 20])  # torch has one kernel for up to three, another for more
@pytest.mark.parametrize(
    ("tokens", "size"),
    [((20, 27), (301, 402)), ((1, 5), (50, 200)), ((2, 5), (201, 200)), ((97, 13), (97, 130)), ((40, 9), (30, 128))],
)
def test_rows_have_the_bits_of_the_whole(classes, tokens, size):
    maps = random_maps(2, classes, *tokens)
    ordered = maps.contiguous(memory_format=torch.channels_last)
    whole = interpolate(ordered, size, mode="bilinear", align_corners=False)
    pieces = list(resized_rows(maps, *size))
    assert [start for start, *_ in pieces] == [0, *(stop for _, stop, _ in pieces[:-1])]
    assert torch.equal(torch.cat([scores for *_, scores in pieces], dim=2), whole)


@pytest.mark.parametrize("maps", [random_maps(1, 5, 6, 7).double(), random_maps(1, 5, 6, 7)])
def test_other_types_and_narrow_images_come_as_a_whole(maps):
    width = 200 if maps.dtype == torch.float64 else 90
    [(start, stop, scores)] = resized_rows(maps, 50, width)
    assert (start, stop) == (0, 50)
    ordered = maps.contiguous(memory_format=torch.channels_last)
    assert torch.equal(scores, interpolate(ordered, (50, width), mode="bilinear", align_corners=False))


@pytest.mark.parametrize("limit", [1, 4000, 2**18])
@pytest.mark.parametrize("rank", [1, 2])
def test_strips_have_the_bits_of_the_rows_and_every_class_that_can_be_among_the_best(monkeypatch, limit, rank):
    monkeypatch.setattr("ca_seg.decision.strips.CACHED_SCORES", limit)
    maps = random_maps(2, 12, 7, 9, sharpness=6.0)
    rows = ScoreRows(maps, 90, 140).rows(0, 90)
    stop = 0
    for strip in strips(maps, 90, 140, rank=rank):
        assert strip.start == stop
        stop = strip.stop
        expected = rows[:, :, strip.start : stop]
        assert torch.equal(strip.scores, expected[:, strip.classes])
        best = expected.topk(rank, dim=1)
        assert set(best.indices.unique().tolist()) <= set(strip.classes.tolist())
        assert torch.equal(strip.scores.amax(dim=1), best.values[:, 0])
    assert stop == 90
