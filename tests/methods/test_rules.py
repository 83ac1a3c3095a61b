"""Rules of relevance propagation against naive loops, and what they conserve."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ca_seg.methods.vit.network import VisionNetwork
from ca_seg.methods.vit.relevance import Rules, propagate, recorded_modules, to_pixels
from ca_seg.methods.vit.rules import (
    balanced_sum_rule,
    linear_rule,
    pixel_rule,
    product_rule,
    ratio,
    sum_rule,
)
from tests.methods.small_vit import formula_image, formula_vit


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("conserving", [True, False])
def test_a_linear_layer_passes_relevance_along_positive_contributions(conserving):
    relevance, x, w = numbers(4), numbers(5, seed=1), numbers(4, 5, seed=2)
    expected = torch.zeros(5, dtype=torch.float64)
    for out in range(4):
        parts = [x[i] * w[out, i] for i in range(5)]
        groups = [[i for i in range(5) if parts[i] > 0 and (x[i] > 0) == sign] for sign in (True, False)]
        if conserving:
            groups = [groups[0] + groups[1]]
        for group in groups:
            for i in group:
                expected[i] += relevance[out] * parts[i] / sum(parts[j] for j in group)
    torch.testing.assert_close(linear_rule(relevance, x, w, conserving=conserving), expected)


def test_a_product_gives_each_factor_half():
    relevance, left, right = numbers(2, 3), numbers(2, 4, seed=1), numbers(4, 3, seed=2)
    first, second = product_rule(relevance, left, right)
    for i in range(2):
        for k in range(4):
            share = sum(relevance[i, j] * left[i, k] * right[k, j] / (left[i] @ right[:, j]) for j in range(3))
            torch.testing.assert_close(first[i, k], share / 2)
    torch.testing.assert_close(first.sum(), relevance.sum() / 2)
    torch.testing.assert_close(second.sum(), relevance.sum() / 2)


@pytest.mark.parametrize("rule", [sum_rule, balanced_sum_rule])
def test_a_sum_is_divided_without_loss_in_each_image(rule):
    relevance, a, b = numbers(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 3, 4, seed=2)
    first, second = rule(relevance, a, b)
    torch.testing.assert_close((first + second).sum(dim=(1, 2)), relevance.sum(dim=(1, 2)))
    alone = rule(relevance[1:], a[1:], b[1:])
    torch.testing.assert_close(torch.stack(alone)[:, 0], torch.stack((first, second))[:, 1])


def test_the_balanced_rule_divides_by_absolute_size():
    relevance, a, b = numbers(1, 6).abs(), numbers(1, 6, seed=1), numbers(1, 6, seed=2)
    plain, balanced = sum_rule(relevance, a, b), balanced_sum_rule(relevance, a, b)
    sizes = torch.stack([part.sum().abs() for part in plain])
    expected = sizes / sizes.sum() * relevance.sum()
    torch.testing.assert_close(torch.stack([part.sum() for part in balanced]), expected)


def test_the_first_convolution_is_the_bounded_rule():
    convolution = nn.Conv2d(3, 2, 2, stride=2).double()
    pixels, relevance = numbers(1, 3, 2, 2), numbers(1, 2, 1, 1, seed=1)
    w, low, high = convolution.weight.detach(), pixels.min(), pixels.max()
    expected = torch.zeros_like(pixels)
    for d in range(2):
        up, down = w[d].clamp_min(0), w[d].clamp_max(0)
        parts = pixels[0] * w[d] - low * up - high * down
        expected[0] += relevance[0, d, 0, 0] * parts / parts.sum()
    torch.testing.assert_close(pixel_rule(relevance, pixels, convolution), expected)


def test_a_ratio_stays_finite():
    values = ratio(torch.ones(4), torch.tensor([0.0, 1e-30, -1e-9, 2.0]))
    assert values.isfinite().all()
    assert values.tolist()[0] == 0
    assert values.tolist()[3] == pytest.approx(0.5)


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2}])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_relevance_of_a_class_is_conserved_in_every_block(balanced, options):
    """It is 1 at the logit and sums to 1 at the output of every block and at the input of the first."""
    network = VisionNetwork(formula_vit(**options), "lrp")
    trace = network.run(formula_image(), recorded_modules(network))
    propagated = propagate(trace, torch.tensor([2]), Rules(conserving=True, balanced=balanced))
    sums = [tokens.double().sum().item() for tokens in (propagated.tokens, *propagated.tokens_after)]
    assert sums == pytest.approx([1.0] * 4, abs=1e-2)


def test_the_relevance_of_the_patches_is_divided_between_pixels_and_positions():
    """Without position embeddings the pixels have all of it."""
    network = VisionNetwork(formula_vit(), "lrp")
    network.model.pos_embed.data.zero_()
    trace = network.run(formula_image(), recorded_modules(network))
    tokens = propagate(trace, torch.tensor([2]), Rules(balanced=False)).tokens
    pixels = to_pixels(tokens, trace)
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels.sum().item() == pytest.approx(tokens[:, 1:].sum().item(), rel=1e-3, abs=1e-3)


def test_the_reference_rule_does_not_conserve():
    """The doubling that `linear_rule` states, measured: the reason why there are two rules."""
    network = VisionNetwork(formula_vit(), "lrp")
    trace = network.run(formula_image(), recorded_modules(network))
    tokens = propagate(trace, torch.tensor([2]), Rules(conserving=False, balanced=False)).tokens
    assert tokens.sum().item() > 10
