"""Pixel-adaptive mask refinement: scores spread, step by step, to neighbours of similar colour.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels" (CVPR 2020). Details that the paper
leaves open follow the authors' code (the factor 0.1; p itself counted in s_p). With N(p) the 8
neighbours of p at each of D dilations, 8 D in all:

    x . x . x       closeness(p, q) = - mean over R, G, B of |I_p - I_q| / (0.1 * s_p)
    . . . . .       s_p = standard deviation of I, for each colour, over N(p) and D times p itself (9 D values)
    x . p . x       a(p, .) = softmax of closeness over N(p)
    . . . . .       one step: score_p <- sum over q in N(p) of a(p, q) * score_q
    x . x . x       (dilation 2)

The border repeats the outermost pixels. `a` depends only on the image and is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_image

ITERATIONS = 10
COARSE_SIDE = 96  # pixels
COARSE_DILATIONS = (1, 2, 4, 8, 12)
DILATIONS = (1, 2, 4, 8, 12, 24)
_NEIGHBOURS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_DEVIATION_FACTOR = 0.1


def pamr(
    scores: Tensor, image: Tensor, *, iterations: int = ITERATIONS, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Scores refined along the colours of an image.

    Each step takes a weighted mean, so probabilities stay probabilities and no score leaves the range of its
    neighbours; an image of one colour gives the plain mean over N(p). Memory: three maps of the size of the result,
    and one plane per neighbour.

    Args:
        scores: float [B, K, h, w]; resized (bilinear) to the image first
        image: float [B, 3, H, W], 0..1
        iterations: number of steps, 0 or more
        dilations: distances of the neighbours in pixels, one or more, each 1 or more

    Returns:
        [B, K, H, W], float32 or wider

    Raises:
        UserError: for other shapes
        OutOfRange: for a negative number of iterations, or dilations that are none or below 1
    """
    check_image(scores, image)
    if iterations < 0:
        raise OutOfRange(f"{iterations} iterations", allowed="0 or more")
    if not dilations or min(dilations) < 1:
        raise OutOfRange(f"dilations {tuple(dilations)}", allowed="one or more, each 1 or more")
    scores, image = (x if x.dtype == torch.float64 else x.float() for x in (scores, image))
    scores = resize_maps(scores, *image.shape[-2:])
    weights = neighbour_weights(image, dilations)
    for _ in range(iterations):
        spread = torch.zeros_like(scores)
        for weight, neighbour in zip(weights.unbind(1), _neighbours(scores, dilations), strict=True):
            spread.addcmul_(weight[:, None], neighbour)
        scores = spread
    return scores


def coarse_pamr(scores: Tensor, image: Tensor, *, side: int = COARSE_SIDE, iterations: int = ITERATIONS) -> Tensor:
    """`pamr` on a small copy of the image: many times cheaper, and for coarse scores often better.

    Scores of 20 x 30 tokens are wrong by whole tokens, not by pixels. On a small image the same number of steps reaches
    over several tokens. Chosen on training images of MSRC-21 for `photo` (20 x 30 tokens): mIoU rises by 1 to 2 with
    the words present and by 2.6 with all words, where `pamr` at the image's own size gives 1.2.

    Args:
        scores: float [B, K, h, w]
        image: float [B, 3, H, W], 0..1; smaller ones than `side` stay as they are
        side: pixels of the short side of the copy, 1 or more
        iterations: as in `pamr`

    Returns:
        [B, K, H', W'], in the size of the copy

    Raises:
        UserError, OutOfRange: as `pamr`, and for a side below 1
    """
    check_image(scores, image)
    if side < 1:
        raise OutOfRange(f"a side of {side} pixels", allowed="1 or more")
    height, width = image.shape[-2:]
    scale = side / min(height, width)
    if scale < 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = adaptive_avg_pool2d(image if image.dtype == torch.float64 else image.float(), size)
    return pamr(scores, image, iterations=iterations, dilations=COARSE_DILATIONS)


def neighbour_weights(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """The weights a: [B, 8 * len(dilations), H, W], which sum to 1 over the neighbours."""
    around, centre_count = list(_neighbours(image, dilations)), len(dilations)
    values = len(around) + centre_count
    mean = (sum(around) + centre_count * image) / values
    squares = centre_count * (image - mean).square()
    for neighbour in around:
        squares += (neighbour - mean).square()
    deviation = _DEVIATION_FACTOR * (squares / (values - 1)).sqrt() + 1e-8
    closeness = [-((neighbour - image).abs() / deviation).mean(dim=1) for neighbour in around]
    return torch.stack(closeness, dim=1).softmax(dim=1)


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """For each dilation and each of the 8 directions the neighbour of every pixel: [B, C, H, W] each."""
    height, width = maps.shape[-2:]
    for d in dilations:
        framed = pad(maps, (d, d, d, d), mode="replicate")
        for y, x in _NEIGHBOURS:
            yield framed[..., d + y * d : d + y * d + height, d + x * d : d + x * d + width]
