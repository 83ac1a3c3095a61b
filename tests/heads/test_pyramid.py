"""The simple feature pyramid, against the paper's steps written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, gelu, layer_norm, max_pool2d

from ca_seg.errors import OutOfRange
from ca_seg.heads.pyramid import SimpleFeaturePyramid


def _norm(x, module):
    """Over the channels of each location."""
    rows = x.movedim(1, -1)
    return layer_norm(rows, rows.shape[-1:], module.weight, module.bias, module.eps).movedim(-1, 1)


@torch.no_grad()
def test_each_stride_is_computed_as_in_the_paper():
    torch.manual_seed(0)
    pyramid = SimpleFeaturePyramid(5, 16, strides=(4, 8, 16, 32), width=6)
    for parameter in pyramid.parameters():
        parameter.normal_()
    tokens = torch.randn(2, 5, 3, 7)
    conv, norm = pyramid.entry
    x = _norm(conv2d(tokens, conv.weight, conv.bias), norm)

    def finished(x, level):
        return _norm(conv2d(x, level[-2].weight, level[-2].bias), level[-1])

    def larger(x, deconvolution):
        return conv_transpose2d(x, deconvolution.weight, deconvolution.bias, stride=2)

    four, eight, sixteen, thirty_two = pyramid.levels
    expected = [
        finished(larger(gelu(_norm(larger(x, four[0]), four[1])), four[3]), four),
        finished(larger(x, eight[0]), eight),
        finished(x, sixteen),
        finished(max_pool2d(x, 2, ceil_mode=True), thirty_two),
    ]
    for level, slow in zip(pyramid(tokens), expected, strict=True):
        torch.testing.assert_close(level, slow)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("grid", [(16, 16), (5, 9), (1, 3)])
def test_any_grid_gives_every_stride(stride, grid):
    levels = SimpleFeaturePyramid(4, stride, width=3)(torch.randn(1, 4, *grid))
    for level, level_stride in zip(levels, (2, 4, 8, 16, 32), strict=True):
        assert level.shape == (1, 3, *(-(-side * stride // level_stride) for side in grid))


def test_an_image_does_not_depend_on_its_batch_or_on_distant_locations():
    pyramid = SimpleFeaturePyramid(4, 8, width=16).train()
    tokens = torch.randn(3, 4, 6, 8)
    both, alone = pyramid(tokens), pyramid(tokens[1:2, :, :4, :4])
    for whole, part in zip(both, alone, strict=True):
        height, width = part.shape[2:]
        torch.testing.assert_close(whole[1:2, :, :height, :width], part)


@pytest.mark.parametrize("options", [{"stride": 12}, {"strides": (3,)}, {"strides": ()}, {"width": 0}])
def test_invalid_settings_raise(options):
    with pytest.raises(OutOfRange):
        SimpleFeaturePyramid(**{"channels": 4, "stride": 8} | options)
