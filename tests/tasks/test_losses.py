"""Losses against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.tasks.losses import LOSSES, SegmentationLoss, token_counts
from ca_seg.vocabulary import IGNORE_INDEX


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=generator)
    mask = torch.randint(0, 4, (2, 13, 16), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.2] = IGNORE_INDEX
    return logits, mask, torch.rand(mask.shape, generator=generator)


def test_a_pixel_has_the_prediction_of_its_nearest_token(case):
    logits, mask, weight = case
    total = counted = 0.0
    for b in range(2):
        for y in range(13):
            for x in range(16):
                if mask[b, y, x] == IGNORE_INDEX:
                    continue
                probabilities = logits[b, :, y * 3 // 13, x * 5 // 16].softmax(dim=0)
                total -= float(weight[b, y, x]) * math.log(probabilities[mask[b, y, x]])
                counted += float(weight[b, y, x])
    loss = SegmentationLoss({"cross-entropy": 1.0}, "tokens")
    assert float(loss(logits, mask, weight)) == pytest.approx(total / counted, rel=1e-5)


def test_each_labelled_pixel_counts_for_one_token(case):
    _, mask, _ = case
    counts = token_counts(mask, 4, 3, 5)
    assert counts.sum() == (mask != IGNORE_INDEX).sum()
    assert counts[1, 2, 0, 0] == (mask[1, :5, :4] == 2).sum()


def test_weights_scale_the_loss_of_pixels(case):
    logits, mask, weight = case
    full = torch.nn.functional.interpolate(logits, (13, 16), mode="bilinear")
    losses = torch.nn.functional.cross_entropy(full, mask, ignore_index=IGNORE_INDEX, reduction="none")
    counted = mask != IGNORE_INDEX
    loss = SegmentationLoss({"cross-entropy": 1.0})
    expected = (losses * weight)[counted].sum() / weight[counted].sum()
    torch.testing.assert_close(loss(full, mask, weight), expected)
    torch.testing.assert_close(loss(full, mask), losses[counted].mean())


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_prefers_the_ground_truth_and_ignores_void(name, case):
    _, mask, _ = case
    loss = SegmentationLoss({name: 1.0})
    ground_truth = torch.nn.functional.one_hot(mask.where(mask != IGNORE_INDEX, 0), 4).permute(0, 3, 1, 2) * 40.0 - 20
    wrong = ground_truth.roll(1, dims=1)
    assert float(loss(ground_truth, mask)) < 0.05 < float(loss(wrong, mask))
    noised = ground_truth.where((mask != IGNORE_INDEX)[:, None], torch.randn(ground_truth.shape))
    torch.testing.assert_close(loss(noised, mask), loss(ground_truth, mask))


def test_losses_add_up(case):
    logits, mask, _ = case
    full = torch.nn.functional.interpolate(logits, (13, 16), mode="bilinear")
    both = SegmentationLoss({"cross-entropy": 0.5, "dice": 2.0})(full, mask)
    cross_entropy, dice = (SegmentationLoss({name: 1.0})(full, mask) for name in ("cross-entropy", "dice"))
    torch.testing.assert_close(both, 0.5 * cross_entropy + 2 * dice)


def test_bad_losses_are_refused(case):
    with pytest.raises(UnknownName, match="dice"):
        SegmentationLoss({"dise": 1.0})
    with pytest.raises(OutOfRange, match="-1"):
        SegmentationLoss({"dice": -1.0})
    with pytest.raises(UserError, match="cross-entropy"):
        SegmentationLoss({})
    with pytest.raises(UserError, match="cross-entropy"):
        SegmentationLoss({"dice": 1.0}, "tokens")
    with pytest.raises(UserError, match="cross-entropy"):
        SegmentationLoss({"dice": 1.0})(*case)
