"""Regions against plain loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ca_seg.editing.recolor import recolored
from ca_seg.editing.region import Region, any_inside, grown

RANDOM = np.random.default_rng(0)


def _distance(mask: np.ndarray, row: int, column: int) -> int:
    """Rows or columns, whichever is more, to the nearest pixel of the mask."""
    rows, columns = np.nonzero(mask)
    return min(max(abs(int(r) - row), abs(int(c) - column)) for r, c in zip(rows, columns, strict=True))


@pytest.mark.parametrize("pixels", [0, 1, 3, 50])
def test_a_mask_grows_by_rows_and_columns(pixels):
    mask = RANDOM.random((13, 21)) > 0.97
    expected = [[_distance(mask, row, column) <= pixels for column in range(21)] for row in range(13)]
    assert (grown(mask, pixels) == np.array(expected)).all()
    assert not grown(np.zeros((4, 5), bool), pixels).any()


def test_the_feather_is_inside_the_region_and_not_at_the_border_of_the_picture():
    inside = np.zeros((12, 20), bool)
    inside[3:, 5:15] = True
    weights = Region(inside, feather=3).weights
    for row in range(12):
        for column in range(20):
            depth = _distance(~inside, row, column) if inside[row, column] else 0
            assert weights[row, column] == pytest.approx(min(depth, 4) / 4)


def test_outside_the_region_the_photograph_stays_byte_for_byte():
    photograph, edited = RANDOM.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    inside = RANDOM.random((30, 40)) > 0.5
    result = Region(inside, feather=2).paste(photograph, edited)
    assert (result[~inside] == photograph[~inside]).all()
    assert (Region(inside).paste(photograph, edited)[inside] == edited[inside]).all()
    low, high = np.minimum(photograph, edited).astype(int), np.maximum(photograph, edited).astype(int)
    assert ((result >= low) & (result <= high)).all()


@pytest.mark.parametrize("size", [(4, 6), (7, 9), (60, 80)])
def test_a_cell_is_inside_where_any_of_its_pixels_is(size):
    mask = torch.zeros(24, 36, dtype=torch.bool)
    mask[5, 7] = mask[23, 35] = True
    cells = any_inside(mask, *size)
    assert cells.shape == size
    if size == (4, 6):
        assert cells.nonzero().tolist() == [[0, 1], [3, 5]]
    else:
        assert cells.any()
        assert not cells.all()


def test_a_recoloured_region_has_the_colour_on_average_and_keeps_its_shades():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[::2] = 120
    inside = np.zeros((8, 8), bool)
    inside[2:6, 2:6] = True
    result = recolored(pixels, inside, (200, 60, 40)).astype(int)
    weights = np.array([0.299, 0.587, 0.114])  # luma of BT.601
    luma = result[inside] @ weights
    assert luma.mean() == pytest.approx(np.array([200, 60, 40]) @ weights, abs=1)
    assert luma.max() - luma.min() == pytest.approx(20, abs=2)
    assert np.abs(result[inside].mean(axis=0) - (200, 60, 40)).max() <= 3
