"""Rules of layer-wise relevance propagation: how a layer's output relevance is divided among its inputs.

Each rule takes relevance of the shape of the output and returns relevance of the shape of the inputs. Activations,
softmax, normalisation, layer scale and dropout pass relevance on as it is (Chefer et al. 2021, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear

EPSILON = 1e-9


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, kept finite near zero; 0 where the denominator is 0."""
    sign = denominator.sign()
    return numerator / (denominator + EPSILON * sign).where(sign != 0, torch.ones_like(denominator)) * sign.abs()


def linear_rule(relevance: Tensor, inputs: Tensor, weight: Tensor, *, conserving: bool) -> Tensor:
    """The rule alpha = 1, beta = 0 of a linear layer: relevance follows positive contributions x w only.

    R_in = x+ (S1 w+) + x- (S2 w-),    Z1 = x+ w+,   Z2 = x- w-     (x+, w+: the positive parts, x-, w-: the negative)

    Args:
        relevance: [..., out]
        inputs: x [..., in]
        weight: w [out, in]; the bias receives nothing
        conserving: S1 = S2 = R / (Z1 + Z2), so that the sum stays (Bach et al. 2015, equation 60; Chefer et al. 2021,
            equation 3). Otherwise S1 = R / Z1 and S2 = R / Z2, as the code of the LRP baseline in Chefer et al. has it:
            where both are above 0 the relevance doubles.
    """
    positive, negative = inputs.clamp_min(0), inputs.clamp_max(0)
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    z1, z2 = linear(positive, up), linear(negative, down)
    s1, s2 = (ratio(relevance, z1 + z2),) * 2 if conserving else (ratio(relevance, z1), ratio(relevance, z2))
    return positive * (s1 @ up) + negative * (s2 @ down)


def product_rule(relevance: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Of a matrix product left @ right: each factor receives half (Chefer et al. 2021, section 3.1).

    Args:
        relevance: [..., i, j]
        left: [..., i, k]
        right: [..., k, j]
    """
    share = ratio(relevance, left @ right)
    return left * (share @ right.mT) / 2, right * (left.mT @ share) / 2


def sum_rule(relevance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Of a sum: each term receives in proportion to its value."""
    share = ratio(relevance, first + second)
    return first * share, second * share


def balanced_sum_rule(relevance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """`sum_rule`, then each term scaled to its part of the whole by absolute size (Chefer et al. 2021, equation 8).

    Where large terms of opposite sign cancel, the plain rule gives relevance far above the sum; this one keeps it
    bounded. Sums run over each image [B, ...] by itself.
    """
    one, two = sum_rule(relevance, first, second)
    total, sum_one, sum_two = (_image_sum(part) for part in (relevance, one, two))
    size = sum_one.abs() + sum_two.abs()
    return (
        one * ratio(ratio(sum_one.abs(), size) * total, sum_one),
        two * ratio(ratio(sum_two.abs(), size) * total, sum_two),
    )


def pixel_rule(relevance: Tensor, pixels: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The z^B rule of the first convolution, whose inputs are bounded (Montavon et al. 2017, section 3.4).

    R_in = x (S w) - l (S w+) - h (S w-),    S = R / (x w - l w+ - h w-)

    Args:
        relevance: [B, D, rows, columns]
        pixels: x [B, 3, H, W]; l and h are the smallest and largest value of each image
        convolution: whose stride is its kernel size
    """
    weight = convolution.weight.detach()
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    low = pixels.amin(dim=(1, 2, 3), keepdim=True).expand_as(pixels)
    high = pixels.amax(dim=(1, 2, 3), keepdim=True).expand_as(pixels)
    parts = ((pixels, weight, 1), (low, up, -1), (high, down, -1))
    z = sum(sign * conv2d(x, w, stride=convolution.stride) for x, w, sign in parts)
    assert isinstance(z, Tensor)
    share = relevance / (z + EPSILON)
    result = sum(sign * x * conv_transpose2d(share, w, stride=convolution.stride) for x, w, sign in parts)
    assert isinstance(result, Tensor)
    return result


def _image_sum(values: Tensor) -> Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)), keepdim=True)
