"""Boxes and points from class maps, against a slow search over all pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ca_seg
from ca_seg import boxes_and_points
from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.boxes_and_points import connected_parts


def _maps(picture: str) -> torch.Tensor:
    """One map per letter, in alphabetical order: 0.9 where the picture has it, else 0.1."""
    rows = [list(line) for line in picture.split()]
    letters = sorted({letter for row in rows for letter in row})
    return torch.tensor([[[0.9 if cell == letter else 0.1 for cell in row] for row in rows] for letter in letters])


TWO = """
    bbbbbbbb
    baaabbbb
    baaabbba
    baaabbba
    bbbbbbbb
"""


def test_a_part_is_a_box_in_pixels_with_a_point_in_its_middle():
    first, second, rest = boxes_and_points(_maps(TWO))
    assert (first.class_index, first.box, first.corners, first.area) == (0, (1, 1, 3, 3), (1, 1, 4, 4), 9)
    assert first.points == ((2.5, 2.5),)  # the box is full, so that nothing in it is beside the class
    assert first.labels == (1,)
    assert first.score == pytest.approx(0.9)
    assert (second.class_index, second.box, second.area) == (0, (7, 2, 1, 2), 2)
    assert (rest.class_index, rest.box, rest.labels) == (1, (0, 0, 8, 5), (1, 0))
    assert rest.points[1] == (2.5, 2.5)  # of the other class, and the farthest from this one


def _slow_farthest(pixels: np.ndarray, others: np.ndarray) -> float:
    """The largest distance of a pixel of `pixels` to the nearest of `others`."""
    nearest = [min(np.hypot(*(a - b)) for b in np.argwhere(others)) for a in np.argwhere(pixels)]
    return max(nearest)


@pytest.mark.parametrize("seed", range(4))
def test_points_are_as_far_as_possible_from_the_border(seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, 3, 4, generator=generator)
    prompts = boxes_and_points(coarse, 15, 20, positive=1, negative=1, smallest=0)
    best = torch.nn.functional.interpolate(coarse[None], (15, 20), mode="bilinear")[0].argmax(0).numpy()
    assert sum(prompt.area for prompt in prompts) == best.size
    for prompt in prompts:
        mask = best == prompt.class_index
        x, y, width, height = map(int, prompt.box)
        framed = np.pad(mask, 1)  # what lies outside the image is not of the class
        for (px, py), label in zip(prompt.points, prompt.labels, strict=True):
            column, row = int(px), int(py)
            assert (px % 1, py % 1) == (0.5, 0.5)
            assert mask[row, column] == bool(label)
            assert x <= px <= x + width
            assert y <= py <= y + height
            if label == 0:
                crop = mask[y : y + height, x : x + width]
                distance = min(np.hypot(*(np.array([row - y, column - x]) - b)) for b in np.argwhere(crop))
                assert distance == pytest.approx(_slow_farthest(~crop, crop))
            elif sum(other.class_index == prompt.class_index for other in prompts) == 1:
                distance = min(np.hypot(*(np.array([row + 1, column + 1]) - b)) for b in np.argwhere(~framed))
                assert distance == pytest.approx(_slow_farthest(framed, ~framed))


def test_more_points_are_apart_from_each_other():
    block = torch.stack([torch.ones(9, 27), torch.zeros(9, 27)])
    (prompt,) = boxes_and_points(block, positive=3)
    assert prompt.points[0] == (13.5, 4.5)
    assert sorted(prompt.points) == [(8.5, 4.5), (13.5, 4.5), (20.5, 4.5)]  # all 5 from the border


def test_an_empty_mask_has_no_prompt_and_a_whole_image_no_negative_point():
    whole = torch.zeros(2, 4, 6)
    whole[1] = 1
    (prompt,) = boxes_and_points(whole, 40, 60, negative=3)
    assert (prompt.class_index, prompt.box, prompt.labels) == (1, (0, 0, 60, 40), (1,))
    assert abs(prompt.points[0][0] - 30) <= 10
    assert abs(prompt.points[0][1] - 20) <= 1


def test_small_parts_and_many_parts_are_left_out():
    maps = _maps("aabaaaabab")
    assert [prompt.area for prompt in boxes_and_points(maps, smallest=0, parts=2) if prompt.class_index == 0] == [4, 2]
    assert [prompt.area for prompt in boxes_and_points(maps, smallest=0.2) if prompt.class_index == 0] == [4, 2]
    assert not boxes_and_points(maps, smallest=0.5)


def test_a_strip_of_one_row_and_a_single_pixel():
    strip = torch.rand(3, 1, 40, generator=torch.Generator().manual_seed(0))
    prompts = boxes_and_points(strip, 1, 5000, smallest=0, parts=1000)
    assert sum(prompt.area for prompt in prompts) == 5000
    assert {prompt.box[3] for prompt in prompts} == {1}
    (pixel,) = boxes_and_points(torch.ones(1, 1, 1), positive=5)
    assert (pixel.box, pixel.points) == ((0, 0, 1, 1), ((0.5, 0.5),))


def test_parts_touch_at_corners():
    mask = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    assert [part.area for part in connected_parts(mask)] == [2]


def test_the_probabilities_of_a_result_are_taken():
    result = ca_seg.segment(torch.rand(3, 64, 96), ["cat", "grass"], backbone="mini")
    prompts = boxes_and_points(result.probabilities, smallest=0, parts=1000)
    areas = [sum(prompt.area for prompt in prompts if prompt.class_index == index) for index in (0, 1)]
    assert areas == [int((result.mask == index).sum()) for index in (0, 1)]


@pytest.mark.parametrize(
    ("maps", "options", "kind"),
    [
        (torch.rand(2, 3, 4, 4), {}, UserError),
        (torch.rand(4, 4), {}, UserError),
        (torch.full((1, 2, 2), float("nan")), {}, UserError),
        (torch.rand(2, 4, 4), {"positive": -1}, OutOfRange),
        (torch.rand(2, 4, 4), {"parts": 0}, OutOfRange),
        (torch.rand(2, 4, 4), {"smallest": 2}, OutOfRange),
        (torch.rand(2, 4, 4), {"height": 0}, OutOfRange),
    ],
)
def test_bad_input_is_one_error(maps, options, kind):
    with pytest.raises(kind):
        boxes_and_points(maps, **options)
