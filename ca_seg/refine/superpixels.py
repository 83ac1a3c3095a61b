"""One class per superpixel: the pixels of a patch of even colour share the mean of their scores.

    scores                superpixels        mean over each
    .9 .8 .3 .1           A A A B            .67 .67 .67 .15       the low score (.3) is corrected
    .8 .7 .5 .2           A A A B            .67 .67 .67 .15       by the rest of its patch

Superpixels are SLIC (Achanta et al., PAMI 2012) by scikit-image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange
from ca_seg.optional import optional_imports
from ca_seg.refine.shapes import check_image

SEGMENTS = 400
COMPACTNESS = 10.0


def superpixel_vote(
    scores: Tensor, image: Tensor, *, segments: int = SEGMENTS, compactness: float = COMPACTNESS
) -> Tensor:
    """The mean of the scores over each superpixel. Probabilities stay probabilities.

    Args:
        scores: float [B, K, h, w]; resized (bilinear) to the image first
        image: float [B, 3, H, W], 0..1
        segments: approximate number of superpixels per image
        compactness: weight of distance against colour, above 0; higher gives squarer patches (scikit-image)

    Returns:
        [B, K, H, W], float32 or wider

    Raises:
        UserError: for other shapes
        OutOfRange: for fewer than 1 segment, or a compactness of 0 or less
    """
    check_image(scores, image)
    if segments < 1:
        raise OutOfRange(f"{segments} superpixels", allowed="1 or more")
    if not compactness > 0:
        raise OutOfRange(f"a compactness of {compactness}", allowed="above 0")
    scores = resize_maps(scores if scores.dtype == torch.float64 else scores.float(), *image.shape[-2:])
    labels = [superpixels(pixels, segments=segments, compactness=compactness).to(scores.device) for pixels in image]
    return torch.stack([_mean_over(maps, patches) for maps, patches in zip(scores, labels, strict=True)])


def superpixels(image: Tensor, *, segments: int = SEGMENTS, compactness: float = COMPACTNESS) -> Tensor:
    """The superpixels of an image.

    Args:
        image: [3, H, W], 0..1
        segments: approximate number of superpixels
        compactness: as in `superpixel_vote`

    Returns:
        int64 [H, W], the number of each pixel's superpixel, from 0 without gaps
    """
    with optional_imports("the step superpixels"):
        from skimage.segmentation import slic  # only here: it comes with an extra

    colours = image.detach().movedim(0, -1).cpu().double().numpy()
    return torch.from_numpy(slic(colours, n_segments=segments, compactness=compactness, start_label=0)).long()


def _mean_over(maps: Tensor, patches: Tensor) -> Tensor:
    """Scores [K, H, W], patches [H, W] to [K, H, W]."""
    patch, scores = patches.flatten(), maps.flatten(1).T
    sums = scores.new_zeros(int(patch.max()) + 1, len(maps)).index_add_(0, patch, scores)
    mean = sums / torch.bincount(patch)[:, None]
    return mean[patch].T.reshape(maps.shape)
