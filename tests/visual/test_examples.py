"""The picture of examples, by its colours."""

from __future__ import annotations

import numpy as np

from ca_seg.visual.examples import COLUMN, GAP, LEFT, Example, examples_picture
from ca_seg.visual.palette import colour

NAMES = ("cat", "grass", "sky", "road")


def example(height: int = 60, width: int = 80, names: tuple[str, ...] = NAMES) -> Example:
    image = np.full((height, width, 3), 200, np.uint8)
    truth, guess = np.full((height, width), 3), np.full((height, width), 3)
    truth[: height // 2], truth[0, 0] = 1, 255
    guess[: height // 2] = 2
    return Example("best: a photograph", image, truth, guess, names)


def colours_of(picture, column: int) -> set[tuple[int, int, int]]:
    left = GAP + LEFT[column]
    pixels = np.asarray(picture)[:, left : left + COLUMN].reshape(-1, 3)
    return {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}


def test_a_class_has_one_colour_in_both_masks_and_legends():
    shown = example()
    assert shown.colours == [0, 0, 2, 1]  # grass, road of the ground truth, then sky; cat does not occur
    picture = examples_picture([shown])
    truth, guess = colours_of(picture, 1), colours_of(picture, 2)
    assert colour(1) in truth & guess
    assert colour(0) in truth - guess
    assert colour(2) in guess - truth
    assert (200, 200, 200) in colours_of(picture, 0)


def test_rows_stand_below_each_other_whatever_their_shape():
    one, tall = examples_picture([example()]), examples_picture([example(160, 60)])
    both = examples_picture([example(), example(160, 60)])
    assert one.width == tall.width == both.width == 3 * COLUMN + 4 * GAP
    assert tall.height > one.height
    heading_and_margin = one.height + tall.height - both.height
    assert 2 * GAP < heading_and_margin < 2 * GAP + 30
    assert examples_picture([example()], "how they were chosen").height > one.height


def test_many_long_names_stay_in_their_column():
    names = tuple(f"{letter} rather long name of a class number {letter}" * 2 for letter in "abcdefghijklmnop")
    mask = np.arange(16).repeat(40).reshape(16, 40)
    shown = Example("t", np.zeros((16, 40, 3), np.uint8), mask, mask[::-1], names)
    picture = np.asarray(examples_picture([shown]))
    for column in (1, 2):
        end = GAP + LEFT[column] + COLUMN
        assert (picture[:, end + 1 : end + GAP - 1] == 255).all()
