"""Polygons: exact with OpenCV and Pillow, and within the stated bound with other readers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.path import Path as Outline
from PIL import Image, ImageDraw
from scipy import ndimage

from ca_seg.labelling.formats.polygons import polygons
from tests.labelling.random_labels import masks, random_mask


def filled_by_opencv(ring: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(shape, np.uint8)
    cv2.fillPoly(pixels, [np.array(ring, np.int32)], 1)
    return pixels == 1


def filled_by_pillow(ring: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    image = Image.new("L", shape[::-1])
    ImageDraw.Draw(image).polygon([(x + 0.5, y + 0.5) for x, y in ring], outline=1, fill=1)
    return np.array(image) == 1


def filled_by_crossings(ring: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """The even-odd rule at the centre of each pixel, shifted slightly off the corners; without the outline."""
    inside = np.zeros(shape, bool)
    y, x = np.mgrid[: shape[0], : shape[1]] + np.array([0.001, 0.0003])[:, None, None]
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if y1 != y2:
            crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
            inside ^= ((y1 <= y) != (y2 <= y)) & (x < crossing)
    return inside


@pytest.mark.parametrize("fill", [filled_by_opencv, filled_by_pillow])
@settings(max_examples=200, deadline=None)
@given(mask=masks(classes=2))
def test_filling_a_ring_gives_its_part(fill, mask: np.ndarray) -> None:
    parts, count = ndimage.label(mask == 0, structure=np.ones((3, 3)))
    rings = polygons(mask == 0)
    assert len(rings) == count
    for ring in rings:
        x, y = ring[0]
        np.testing.assert_array_equal(fill(ring, mask.shape), parts == parts[y, x])


@settings(max_examples=100, deadline=None)
@given(mask=masks(classes=2))
def test_a_reader_without_the_outline_loses_rim_pixels_only(mask: np.ndarray) -> None:
    part = mask == 0
    filled = np.zeros(part.shape, bool)
    for ring in polygons(part):
        filled |= filled_by_crossings(ring, part.shape)
    assert not (filled & ~part).any()
    rim = part & ~ndimage.binary_erosion(part, np.ones((3, 3)))
    assert not (part & ~filled & ~rim).any()


@settings(max_examples=100, deadline=None)
@given(mask=masks(classes=2))
def test_a_thousand_points_move_no_pixel_past_the_rim(mask: np.ndarray) -> None:
    """Ultralytics interpolates points between the corners; rounding may then be wrong by one pixel at the rim."""
    part = mask == 0
    filled = np.zeros(part.shape, np.uint8)
    for ring in polygons(part):
        corners = np.array([*ring, ring[0]], np.float32) + np.float32(0.5)
        assert len(corners) <= 1000
        positions = np.sort(np.append(np.linspace(0, len(corners) - 1, 1000 - len(corners)), np.arange(len(corners))))
        points = np.stack([np.interp(positions, np.arange(len(corners)), side) for side in corners.T], axis=1)
        cv2.fillPoly(filled, [points.astype(np.float32).astype(np.int32)], 1)
    rim = part & ~ndimage.binary_erosion(part, np.ones((3, 3)), border_value=1)
    near_rim = ndimage.binary_dilation(rim, np.ones((3, 3)))
    assert not (((filled == 1) != part) & ~near_rim).any()


def test_a_ring_has_the_documented_properties() -> None:
    for seed in range(30):
        part = random_mask(seed, 15, 17, 2, "rings") == 0
        for ring in polygons(part):
            assert len(ring) >= 3
            assert all(part[y, x] for x, y in ring)
            for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
                assert x1 == x2 or y1 == y2 or abs(x1 - x2) == abs(y1 - y2)
                steps = max(abs(x1 - x2), abs(y1 - y2), 1)
                line = [(x1 + (x2 - x1) * t // steps, y1 + (y2 - y1) * t // steps) for t in range(steps + 1)]
                assert all(part[y, x] for x, y in line), "an edge, or a bridge, leaves the part"


def test_straight_runs_have_no_points_between() -> None:
    assert sorted(polygons(np.ones((50, 80), bool))[0]) == [(0, 0), (0, 49), (79, 0), (79, 49)]
    assert polygons(np.ones((1, 1), bool)) == [[(0, 0)] * 3]
    assert polygons(np.zeros((4, 4), bool)) == []


def test_many_holes_are_fast_and_exact() -> None:
    """250,000 pixels with 62,500 holes take seconds, not hours, and are exact."""
    part = np.ones((501, 501), bool)
    part[1::2, 1::2] = False
    (ring,) = polygons(part)
    np.testing.assert_array_equal(filled_by_opencv(ring, part.shape), part)


def test_matplotlib_agrees_on_a_ring_with_a_hole() -> None:
    """An independent implementation: the centre of the hole is outside, the centre of the body inside."""
    part = np.ones((21, 21), bool)
    part[8:13, 8:13] = False
    outline = Outline(polygons(part)[0])
    assert not outline.contains_point((10, 10))
    assert outline.contains_point((4.5, 4.5))
