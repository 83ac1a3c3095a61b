"""The head that fuses timesteps: its formula, where it starts, and that it finds the better timestep of each place."""

from __future__ import annotations

import pytest
import torch

from ca_seg.errors import UserError
from ca_seg.heads.fused_timesteps import FusedTimestepsHead
from ca_seg.heads.head import HeadInput


def head(channels: int = 12, groups: int = 3) -> FusedTimestepsHead:
    torch.manual_seed(0)
    return FusedTimestepsHead(HeadInput(channels, 4), groups=groups, dropout=0.0).eval()


@torch.no_grad()
def test_tokens_are_the_weighted_sum_of_the_groups_token_by_token():
    fused, features = head(), torch.randn(2, 12, 3, 5)
    torch.nn.init.normal_(fused.weigh.weight)
    fused.norm.running_mean.normal_()
    fused.norm.running_var.uniform_(0.5, 2)
    logits = fused.tokens(features)
    linear = fused.layers[1]
    for image in range(2):
        for y in range(3):
            for x in range(5):
                vector = (features[image, :, y, x] - fused.norm.running_mean) / (fused.norm.running_var + 1e-5).sqrt()
                weights = (fused.weigh.weight[:, :, 0, 0] @ vector + fused.weigh.bias).softmax(dim=0)
                mixed = sum(weights[g] * vector[4 * g : 4 * g + 4] for g in range(3))
                expected = linear.weight[:, :, 0, 0] @ mixed + linear.bias
                torch.testing.assert_close(logits[image, :, y, x], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_at_the_start_all_timesteps_count_the_same():
    fused, features = head(), torch.randn(1, 12, 2, 2)
    shuffled = features.unflatten(1, (3, 4))[:, [2, 0, 1]].flatten(1, 2)
    torch.testing.assert_close(fused.tokens(features), fused.tokens(shuffled))


def test_it_learns_which_timestep_to_read_at_each_place():
    """The class is in the first timestep's channels where a mark is set, in the second's where it is not."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 2, (8, 6, 6), generator=generator)
    marked = torch.rand(8, 6, 6, generator=generator) < 0.5
    right, wrong = 2.0 * mask - 1, 2.0 * torch.randint(0, 2, mask.shape, generator=generator) - 1
    mark = 4.0 * marked - 2
    first, second = torch.where(marked, right, wrong), torch.where(marked, wrong, right)
    features = torch.stack([first, mark, second, mark], dim=1)

    def accuracy(groups: int) -> float:
        torch.manual_seed(0)
        fused = FusedTimestepsHead(HeadInput(4, 2), groups=groups, dropout=0.0)
        optimizer = torch.optim.Adam(fused.parameters(), lr=0.1)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(fused.tokens(features), mask).backward()
            optimizer.step()
        return float((fused.eval().tokens(features).argmax(dim=1) == mask).float().mean())

    assert accuracy(groups=2) > 0.98
    assert accuracy(groups=1) < 0.9  # a linear probe cannot


@pytest.mark.parametrize("groups", [0, -1, 5])
def test_channels_that_cannot_be_cut_are_refused(groups):
    with pytest.raises(UserError) as caught:
        FusedTimestepsHead(HeadInput(12, 4), groups=groups)
    assert "12 channels" in str(caught.value)
