"""Guided filter: score maps get the edges of the image, even from a grid that is much coarser.

He, Sun and Tang, "Guided Image Filtering" (ECCV 2010), here with a guide of three colours. In each window the
scores are fitted by a linear function of colour, so they can change only where the image changes:

    a = (covariance of I in the window + epsilon)^-1 * covariance of I with the scores        [3] per class
    b = mean score - a . mean I
    refined = (mean of a over the windows that hold the pixel) . I + (mean of b)

The fit is made at the size of the scores with the image shrunk to it; a and b are then enlarged and applied to the
full image (He and Sun, "Fast Guided Filter", arXiv 1505.00996): the edges of the image at the cost of the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange
from ca_seg.refine.shapes import check_image

RADIUS = 4  # cells of the score grid
EPSILON = 1e-3  # of an image in 0..1: colour noise of about 0.03 is smoothed over


def guided_filter(scores: Tensor, image: Tensor, *, radius: int = RADIUS, epsilon: float = EPSILON) -> Tensor:
    """Scores guided by the colours of an image.

    Scores that sum to 1 over the classes still do, but single ones may go slightly below 0 or above 1 beside an edge.
    Scores that are the same everywhere are unchanged; an image of one colour gives the mean over windows, twice.

    Args:
        scores: float [B, K, h, w]
        image: float [B, 3, H, W], 0..1
        radius: cells of the score grid, 1 or more; a window has (2 * radius + 1)^2 cells, fewer at the border
        epsilon: a variance of colour, above 0; patches below it are smoothed, edges above it stay

    Returns:
        [B, K, H, W], float32 or wider

    Raises:
        UserError: for other shapes
        OutOfRange: for a radius below 1 or an epsilon of 0 or less
    """
    check_image(scores, image)
    if radius < 1:
        raise OutOfRange(f"a radius of {radius}", allowed="1 or more cells of the score grid")
    if not epsilon > 0:
        raise OutOfRange(f"an epsilon of {epsilon}", allowed="above 0")
    scores, image = (x if x.dtype == torch.float64 else x.float() for x in (scores, image))
    guide = image
    if image.shape[-2:] != scores.shape[-2:]:
        size = (scores.shape[-2], scores.shape[-1])
        guide = interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    slope, offset = _fit(scores, guide, radius, epsilon)
    height, width = image.shape[-2:]
    refined = resize_maps(offset, height, width).clone()
    for c in range(3):
        refined.addcmul_(resize_maps(slope[:, :, c], height, width), image[:, c : c + 1])
    return refined


def _fit(scores: Tensor, guide: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean a [B, K, 3, h, w] and mean b [B, K, h, w] over the windows that hold each cell."""
    centre = guide.mean(dim=(-2, -1), keepdim=True)  # centred colours keep the digits of the covariances
    colour = guide - centre
    mean_colour, mean_score = _box(colour, radius), _box(scores, radius)
    pairs = colour[:, :, None] * colour[:, None]  # [B, 3, 3, h, w]
    spread = _box(pairs.flatten(1, 2), radius).unflatten(1, (3, 3)) - mean_colour[:, :, None] * mean_colour[:, None]
    spread = spread.movedim((1, 2), (-2, -1)) + epsilon * torch.eye(3, dtype=guide.dtype, device=guide.device)
    shared = [_box(colour[:, c : c + 1] * scores, radius) - mean_colour[:, c : c + 1] * mean_score for c in range(3)]
    slope = torch.linalg.solve(spread, torch.stack(shared, dim=-1).movedim(1, -1))  # [B, h, w, 3, K]
    slope = slope.permute(0, 4, 3, 1, 2)
    offset = mean_score - (slope * mean_colour[:, None]).sum(dim=2)
    slope = _box(slope.flatten(1, 2), radius).unflatten(1, (-1, 3))
    return slope, _box(offset, radius) - (slope * centre[:, None]).sum(dim=2)


def _box(maps: Tensor, radius: int) -> Tensor:
    """The mean over each window, of the cells that lie in the image."""
    rows = avg_pool2d(maps, (2 * radius + 1, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return avg_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius), count_include_pad=False)
