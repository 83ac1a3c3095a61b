"""The removal of absent classes against loops over classes, and by hand."""

from __future__ import annotations

import re

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.absence import present_classes, without_absent
from tests.refine.scene import random_case, two_regions


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_presence_equals_a_loop(seed: int, relative: float) -> None:
    scores = random_case(seed, grid=(4, 5))[0].mul(16).round() / 16  # many equal scores
    expected = []
    for planes in scores:
        strengths = [max(plane.flatten().tolist()) for plane in planes]
        expected.append([strength >= relative * max(strengths) for strength in strengths])
    assert present_classes(scores, relative=relative).tolist() == expected


def test_by_hand() -> None:
    scores = torch.tensor([0.81, 0.64, 0.12, 0.05])[None, :, None, None].expand(-1, -1, 2, 2).clone()
    assert present_classes(scores, relative=0).tolist() == [[True] * 4]
    assert present_classes(scores, relative=0.1).tolist() == [[True, True, True, False]]
    assert present_classes(scores, relative=1).tolist() == [[True, False, False, False]]
    scores[0, 2, 0, 0] = 0.9  # a single pixel is enough
    assert present_classes(scores, relative=0.8).tolist() == [[True, False, True, False]]


def test_present_classes_receive_the_probability_of_absent_ones() -> None:
    scores, _ = random_case(1)
    present = torch.tensor([[True, False, True, False], [False, True, True, True]])
    refined = without_absent(scores, present)
    torch.testing.assert_close(refined.sum(1), scores.sum(1))
    assert (refined[0, 1] == 0).all()
    torch.testing.assert_close(refined[0, 0] / refined[0, 2], scores[0, 0] / scores[0, 2])
    assert torch.equal(refined[1].argmax(0), scores[1, 1:].argmax(0) + 1)
    torch.testing.assert_close(without_absent(scores, torch.ones(2, 4).bool()), scores)


def test_a_pixel_of_absent_classes_is_shared_evenly() -> None:
    scores = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    refined = without_absent(scores, torch.tensor([[False, True, True]]))
    assert refined.flatten().tolist() == [0, 0.5, 0.5]


def test_a_noisy_scene_improves() -> None:
    """Class 2 is nowhere, and wins pixels."""
    scene = two_regions()
    scores = scene.noisy_scores(1)
    present = torch.tensor([[True, True, False]])
    assert scene.miou(without_absent(scores, present)) > scene.miou(scores) + 0.03


def test_invalid_arguments_raise() -> None:
    scores, _ = random_case(2)
    for relative in (1.5, -0.1, float("nan")):
        with pytest.raises(OutOfRange, match=re.escape(str(relative))):
            present_classes(scores, relative=relative)
    with pytest.raises(OutOfRange):
        present_classes(scores.log(), relative=0.5)
    with pytest.raises(UserError, match=r"\(4, 5, 7\)"):
        present_classes(scores[0], relative=0.5)
    for wrong in (torch.ones(2, 3).bool(), torch.ones(2, 4), torch.zeros(2, 4).bool()):
        with pytest.raises(OutOfRange, match=re.escape(str(tuple(wrong.shape)))):
            without_absent(scores, wrong)
