"""Means and highest scores from the tokens equal those of the resized maps."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from ca_seg.decision.class_scores import class_scores


@pytest.mark.parametrize("size", [(97, 131), (16, 20), (5, 7), (3, 2), (1, 1), (40, 9)])
@pytest.mark.parametrize("tokens", [(16, 20), (1, 3), (2, 1)])
def test_scores_equal_those_of_resized_maps(size, tokens):
    maps = torch.rand(6, *tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resized = interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    mean, highest = class_scores(maps.float(), *size)
    torch.testing.assert_close(mean, resized.mean(dim=(1, 2)), atol=1e-7, rtol=0)
    torch.testing.assert_close(highest, resized.amax(dim=(1, 2)), atol=1e-7, rtol=0)
