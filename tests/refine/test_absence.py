"""The absence filter against loops over classes, and by hand."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.absence import present_classes, without_absent
from tests.refine.scene import random_case, two_regions


def slow_present(scores: torch.Tensor, threshold, relative, top, quantile, always) -> list[bool]:
    """One image [K, h, w]."""
    strengths = []
    for plane in scores:
        values = sorted(plane.flatten().tolist())
        strengths.append(values[max(0, math.ceil(round(quantile * len(values), 6)) - 1)])
    order = sorted(range(len(strengths)), key=lambda k: (-strengths[k], k))
    best = strengths[order[0]]
    return [
        k == order[0]
        or k in always
        or (s >= threshold and s >= relative * best and (top is None or order.index(k) < top))
        for k, s in enumerate(strengths)
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([None, 1, 2, 9]),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.sampled_from([(), (3,), (0, 2)]),
)
def test_presence_equals_a_loop(seed, threshold, relative, top, quantile, always) -> None:
    scores = random_case(seed, grid=(4, 5))[0].mul(16).round() / 16  # many equal scores
    got = present_classes(scores, threshold=threshold, relative=relative, top=top, quantile=quantile, always=always)
    assert got.tolist() == [slow_present(one, threshold, relative, top, quantile, always) for one in scores]


def test_by_hand() -> None:
    scores = torch.tensor([0.81, 0.64, 0.12, 0.05])[None, :, None, None].expand(-1, -1, 2, 2).clone()
    assert present_classes(scores).tolist() == [[True] * 4]
    assert present_classes(scores, threshold=0.3).tolist() == [[True, True, False, False]]
    assert present_classes(scores, relative=0.1).tolist() == [[True, True, True, False]]
    assert present_classes(scores, top=1).tolist() == [[True, False, False, False]]
    assert present_classes(scores, threshold=1, always=[3]).tolist() == [[True, False, False, True]]
    scores[0, 2, 0, 0] = 0.9  # one pixel of four that went astray
    assert present_classes(scores, threshold=0.3).tolist() == [[True, True, True, False]]
    assert present_classes(scores, threshold=0.3, quantile=0.75).tolist() == [[True, True, False, False]]


def test_the_others_share_out_what_is_left() -> None:
    scores, _ = random_case(1)
    present = torch.tensor([[True, False, True, False], [False, True, True, True]])
    kept = without_absent(scores, present)
    torch.testing.assert_close(kept.sum(1), scores.sum(1))
    assert (kept[0, 1] == 0).all()
    torch.testing.assert_close(kept[0, 0] / kept[0, 2], scores[0, 0] / scores[0, 2])
    plain = without_absent(scores, present, renormalise=False)
    assert torch.equal(plain[1, 1:], scores[1, 1:])
    assert torch.equal(plain.argmax(1), kept.argmax(1))
    torch.testing.assert_close(without_absent(scores, torch.ones(2, 4).bool()), scores)


def test_a_pixel_of_absent_classes_alone_is_shared_out_evenly() -> None:
    scores = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    kept = without_absent(scores, torch.tensor([[False, True, True]]))
    assert kept.flatten().tolist() == [0, 0.5, 0.5]


def test_a_noisy_scene_gets_better() -> None:
    """Class 2 is nowhere, and wins pixels; its 90 % point gives it away."""
    scene = two_regions()
    scores = scene.noisy_scores(1)
    present = present_classes(scores, quantile=0.9, top=2)
    assert present.tolist() == [[True, True, False]]
    assert scene.miou(without_absent(scores, present)) > scene.miou(scores) + 0.03


def test_what_is_wrong_is_said() -> None:
    scores, _ = random_case(2)
    for name in ("threshold", "relative", "quantile"):
        with pytest.raises(OutOfRange, match=rf"{name} 1.5\. Allowed: 0 to 1"):
            present_classes(scores, **{name: 1.5})
    with pytest.raises(OutOfRange, match="the top 0 classes"):
        present_classes(scores, top=0)
    with pytest.raises(OutOfRange, match=r"classes \[-1\] always stay\. Allowed: 0 to 3"):
        present_classes(scores, always=[-1])
    with pytest.raises(OutOfRange, match="negative or not finite"):
        present_classes(scores.log())
    with pytest.raises(UserError, match="class scores of shape"):
        present_classes(scores[0])
    for wrong in (torch.ones(2, 3).bool(), torch.ones(2, 4), torch.zeros(2, 4).bool()):
        with pytest.raises(OutOfRange, match="present classes of shape"):
            without_absent(scores, wrong)
