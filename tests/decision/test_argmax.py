"""The decision with few classes brought to the image's size equals the one with all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca_seg.decision.argmax import predict_mask
from ca_seg.decision.candidates import possible_classes


@pytest.fixture(autouse=True)
def always_prune(monkeypatch):
    monkeypatch.setattr("ca_seg.decision.argmax.MIN_SCORES_TO_PRUNE", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 7), st.integers(1, 7), st.integers(1, 40), st.integers(1, 40),
    st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 8.0]),
)  # fmt: skip
def test_few_classes_decide_as_all_do(batch, classes, h, w, height, width, seed, sharpness):
    maps = (sharpness * torch.randn(batch, classes, h, w, generator=torch.Generator().manual_seed(seed))).softmax(dim=1)
    full = torch.nn.functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
    prediction = predict_mask(maps, height, width)
    score, mask = full.max(dim=1)
    torch.testing.assert_close(prediction.confidence, score)
    picked = full.gather(1, prediction.mask[:, None])[:, 0]
    torch.testing.assert_close(picked, score)  # the same class, or one that ties with it
    assert (prediction.mask == mask).float().mean() > 0.99
    torch.testing.assert_close(prediction.scores, full)


def test_a_class_below_another_at_every_corner_is_left_out():
    maps = torch.tensor([0.6, 0.3, 0.1])[None, :, None, None].repeat(1, 1, 4, 4)
    assert possible_classes(maps).tolist() == [0]
    maps[0, 1, 2, 2] = 0.7
    assert possible_classes(maps).tolist() == [0, 1]


def test_ties_go_to_the_first_class_as_in_argmax():
    maps = torch.full((1, 3, 2, 2), 1 / 3)
    assert predict_mask(maps, 4, 4).mask.unique().tolist() == [0]


@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
def test_one_class_wins_everywhere(size):
    assert predict_mask(torch.rand(2, 1, 3, 3), *size).mask.eq(0).all()


@pytest.mark.parametrize("classes", [2, 40])
def test_large_images_have_the_bits_of_the_resized_candidates(classes):
    maps = (4 * torch.randn(2, classes, 9, 11, generator=torch.Generator().manual_seed(1))).softmax(dim=1)
    chosen = possible_classes(maps)
    ordered = maps[:, chosen].contiguous(memory_format=torch.channels_last)
    score, index = torch.nn.functional.interpolate(ordered, (150, 170), mode="bilinear", align_corners=False).max(dim=1)
    prediction = predict_mask(maps, 150, 170)
    assert torch.equal(prediction.confidence, score)
    assert torch.equal(prediction.mask, chosen[index])


@pytest.mark.parametrize("most", [1, 500, 2**18])
def test_strips_decide_as_the_whole(monkeypatch, most):
    maps = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    whole = predict_mask(maps, 37, 23)
    mask, confidence = whole.mask, whole.confidence
    monkeypatch.setattr("ca_seg.decision.argmax.MAX_RESIZED", 0)
    monkeypatch.setattr("ca_seg.decision.strips.CACHED_SCORES", most)
    in_strips = predict_mask(maps, 37, 23)
    torch.testing.assert_close(in_strips.confidence, confidence)
    assert (in_strips.mask == mask).float().mean() > 0.999
    rows = [scores.max(dim=1) for *_, scores in in_strips.strips(most)]
    torch.testing.assert_close(torch.cat([row.values for row in rows], dim=1), confidence)
