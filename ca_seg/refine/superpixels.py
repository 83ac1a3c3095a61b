"""One vote per superpixel: a patch of even colour belongs to one class, so its pixels decide together.

    scores                superpixels        mean over each
    .9 .8 .3 .1           A A A B            .67 .67 .67 .15       a pixel that went astray (.3)
    .8 .7 .5 .2           A A A B            .67 .67 .67 .15       is outvoted by its patch

Superpixels are SLIC (Achanta et al., PAMI 2012) by scikit-image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange, UserError
from ca_seg.optional import optional_imports
from ca_seg.refine.shapes import check_image

SEGMENTS = 400
COMPACTNESS = 10.0


def superpixel_vote(
    scores: Tensor,
    image: Tensor,
    *,
    segments: int = SEGMENTS,
    compactness: float = COMPACTNESS,
    vote: Literal["mean", "majority"] = "mean",
) -> Tensor:
    """Scores [B, K, h, w] made even within the superpixels of an image [B, 3, H, W], to [B, K, H, W].

    `segments` is about how many superpixels an image gets; `compactness` weighs nearness against likeness of colour
    (scikit-image: higher gives squarer patches). By `vote` a superpixel gets

    - "mean": the mean scores of its pixels; sure pixels count more than unsure ones; shares stay shares;
    - "majority": the share of its pixels that each class wins: always shares, whatever the scores were.

    Scores are resized (bilinear) to the image first. Raises UserError for other shapes or another vote, OutOfRange
    for fewer than 1 segment or a compactness that is not above 0.
    """
    check_image(scores, image)
    if vote not in ("mean", "majority"):
        raise UserError(f"a superpixel vote by {vote!r}", allowed="'mean' or 'majority'")
    if segments < 1:
        raise OutOfRange(f"{segments} superpixels", allowed="1 or more")
    if not compactness > 0:
        raise OutOfRange(f"a compactness of {compactness}", allowed="above 0")
    scores = resize_maps(scores if scores.dtype == torch.float64 else scores.float(), *image.shape[-2:])
    patches = [superpixels(one, segments=segments, compactness=compactness).to(scores.device) for one in image]
    return torch.stack([_voted(one, patch, vote) for one, patch in zip(scores, patches, strict=True)])


def superpixels(image: Tensor, *, segments: int = SEGMENTS, compactness: float = COMPACTNESS) -> Tensor:
    """Image [3, H, W] in 0..1 to the number of each pixel's superpixel, int64 [H, W], from 0 without gaps."""
    with optional_imports("the step superpixels"):
        from skimage.segmentation import slic  # only here: it comes with an extra

    colours = image.detach().movedim(0, -1).cpu().double().numpy()
    return torch.from_numpy(slic(colours, n_segments=segments, compactness=compactness, start_label=0)).long()


def _voted(scores: Tensor, patch: Tensor, vote: str) -> Tensor:
    """Scores [K, H, W], patches [H, W] to [K, H, W]."""
    where, ballots = patch.flatten(), scores.flatten(1).T
    if vote == "majority":
        ballots = one_hot(ballots.argmax(dim=1), len(scores)).to(scores.dtype)
    sums = ballots.new_zeros(int(where.max()) + 1, len(scores)).index_add_(0, where, ballots)
    mean = sums / torch.bincount(where)[:, None]
    return mean[where].T.reshape(scores.shape)
