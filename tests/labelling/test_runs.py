"""Regions, run lengths and brush strokes, against plain loops and the bytes of label_studio_sdk."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings

from ca_seg.labelling.formats.brush import brush_rle
from ca_seg.labelling.formats.regions import regions, runs
from ca_seg.labelling.formats.voc_colours import voc_colours, voc_palette
from tests.labelling.format_readers import brush_mask
from tests.labelling.random_labels import NAMES, label_of, masks


def parts_by_flooding(pixels: np.ndarray) -> list[set[tuple[int, int]]]:
    """Connected sets of pixels, in reading order of their first pixel."""
    remaining = list(zip(*np.nonzero(pixels), strict=True))
    result = []
    while remaining:
        part, edge = set(), [remaining[0]]
        while edge:
            y, x = edge.pop()
            if 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1] and pixels[y, x] and (y, x) not in part:
                part.add((y, x))
                edge += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        result.append(part)
        remaining = [pixel for pixel in remaining if pixel not in part]
    return result


@settings(max_examples=80, deadline=None)
@given(mask=masks())
def test_regions_against_flooding(mask: np.ndarray) -> None:
    label = label_of(mask)
    numbers, result = regions(label, parts_of=(1, 2), exclude=(3,))
    expected = []
    for index in (0, 1, 2, 4, 5):
        parts = parts_by_flooding(mask == index)
        expected += [(index, part) for part in (parts if index in (1, 2) else [set().union(*parts)]) if part]
    assert [(region.class_index, region.number) for region in result] == [
        (index, number) for number, (index, _) in enumerate(expected, start=1)
    ]
    for region, (_, part) in zip(result, expected, strict=True):
        assert set(zip(*np.nonzero(numbers == region.number), strict=True)) == part
        rows, columns = zip(*part, strict=True)
        assert (region.top, region.left) == (min(rows), min(columns))
        assert (region.height, region.width) == (max(rows) - min(rows) + 1, max(columns) - min(columns) + 1)
        assert region.area == len(part)
        assert region.confidence == pytest.approx(np.mean([label.confidence[p] for p in part]), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(mask=masks(classes=3))
def test_runs_against_groupby(mask: np.ndarray) -> None:
    flat = np.where(mask == 255, 0, mask.astype(int) + 1).ravel()
    expected = []
    for number in sorted(set(flat.tolist()) - {0}):
        counts = [len(list(run)) for _, run in groupby((flat == number).tolist())]
        expected.append((number, counts if flat[0] != number else [0, *counts]))
    assert list(runs(flat)) == expected


@settings(max_examples=80, deadline=None)
@given(mask=masks(classes=2))
def test_brush_strokes_read_bit_by_bit(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(brush_mask(brush_rle(mask == 0), *mask.shape), mask == 0)


def test_brush_strokes_with_runs_of_each_size() -> None:
    """Two pixels are a run of 8 values, 4 of 16, 64 of 256, 16,384 of 65,536: the longest run of each, and longer."""
    lengths = [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 40000]
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)[None]
    np.testing.assert_array_equal(brush_mask(brush_rle(pixels), *pixels.shape), pixels)


def test_the_bytes_of_label_studio_sdk() -> None:
    """The bytes of label_studio_sdk 2.1.2 (converter.brush.mask2rle) are written, and the reader understands them.

    Its single values, of kind 0, need masks other than 0 and 255 in four channels, so they do not come up.
    """
    pixels = np.array([[0, 1, 1], [1, 0, 1]], bool)
    sdk_bytes = [0, 0, 0, 24, 57, 27, 252, 96, 22, 255, 227, 0, 143, 252]
    np.testing.assert_array_equal(brush_mask(sdk_bytes, 2, 3), pixels)
    assert brush_rle(pixels) == sdk_bytes


def test_colours_are_those_of_voc_and_all_differ() -> None:
    """The first classes of the VOC devkit: aeroplane, bicycle, bird, ..., and the last of its map."""
    assert voc_colours(5).tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert voc_colours(20)[19].tolist() == [0, 64, 128]  # tv monitor
    assert voc_colours(255)[254].tolist() == [224, 224, 192]  # the border of objects
    assert len({tuple(colour) for colour in voc_colours(254).tolist()} | {(0, 0, 0)}) == 255
    assert len(voc_palette(len(NAMES))) == 768
