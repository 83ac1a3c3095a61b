"""Class maps refined by a promptable segmenter, which draws the objects that the maps point at.

    maps ──► boxes and points of each class's parts ──► segmenter ──► S_k, the highest mask probability over the
                                                                        parts of class k, at each pixel
    refined_k  ~  maps_k * max(S_k, FLOOR)                              each pixel keeps its sum

So inside a mask its class wins, unless another is a hundred times as probable; where two masks overlap the maps decide;
and where there is no mask the maps stay as they are. A mask that has little in common with the part that it was asked
for is not used, since the segmenter drew another thing; S is then 1 on that part. Parts that are too small to be asked
for have no S: the mask of another class around them takes them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ca_seg.backbones.images import resize_maps
from ca_seg.errors import OutOfRange
from ca_seg.refine.boxes_and_points import (
    NEGATIVE,
    PARTS,
    POSITIVE,
    SMALLEST,
    BoxAndPoints,
    Part,
    check_prompt_options,
    prompted_parts,
)
from ca_seg.refine.promptable import PromptableSegmenter
from ca_seg.refine.shapes import check_image, check_nonnegative

AGREEMENT = 0.3
FLOOR = 0.01


def sam_refine(
    scores: Tensor,
    image: Tensor,
    segmenter: PromptableSegmenter,
    *,
    positive: int = POSITIVE,
    negative: int = NEGATIVE,
    smallest: float = SMALLEST,
    parts: int = PARTS,
    agreement: float = AGREEMENT,
) -> Tensor:
    """Scores that follow the masks of a promptable segmenter.

    Args:
        scores: float [B, K, h, w], 0 or more; resized (bilinear) to the image first
        image: float [B, 3, H, W], 0..1
        segmenter: what draws the masks
        positive, negative, smallest, parts: as in `boxes_and_points`
        agreement: the lowest intersection over union of a mask with the part it was asked for, 0..1

    Returns:
        [B, K, H, W] float32. Memory: two maps of the size of the result, and one mask at a time.

    Raises:
        UserError: for other shapes
        OutOfRange: for a negative score, or another option
    """
    check_image(scores, image)
    check_nonnegative(scores)
    check_agreement(agreement)
    check_prompt_options(positive=positive, negative=negative, smallest=smallest, parts=parts)
    full = resize_maps(scores.float(), *image.shape[-2:]).clone()
    for maps, pixels in zip(full, image, strict=True):
        asked = prompted_parts(maps, positive=positive, negative=negative, smallest=smallest, parts=parts)
        _follow(maps, asked, segmenter.masks(pixels, [prompt for prompt, _ in asked]), agreement)
    return full


def check_agreement(agreement: float) -> None:
    """Raises OutOfRange for an intersection over union that is none."""
    if not 0 <= agreement <= 1:
        raise OutOfRange(f"an agreement of {agreement}", allowed="0 to 1")


def _follow(
    maps: Tensor, asked: Sequence[tuple[BoxAndPoints, Part]], masks: Iterator[Tensor], agreement: float
) -> None:
    """Changes the maps [K, H, W] of one image by the mask of each part that was asked for, class after class."""
    total, parts = maps.sum(dim=0), iter(asked)
    ahead = next(parts, None)
    for index, scores in enumerate(maps):
        mask_probability = torch.zeros_like(scores)
        while ahead is not None and ahead[0].class_index == index:
            mask_probability = torch.maximum(mask_probability, _agreed(ahead[1], next(masks).to(maps), agreement))
            ahead = next(parts, None)
        scores *= mask_probability.clamp(min=FLOOR)
    changed = maps.sum(dim=0)
    maps *= torch.where(changed > 0, total / changed, 1)


def _agreed(part: Part, mask: Tensor, agreement: float) -> Tensor:
    """The mask [H, W]; the part itself where the mask has little in common with it."""
    pixels = torch.zeros_like(mask, dtype=torch.bool)
    pixels[part.rows, part.columns] = torch.as_tensor(part.pixels, device=mask.device)
    drawn = mask >= 0.5
    overlap = (drawn & pixels).sum() / (drawn | pixels).sum()
    return mask if overlap >= agreement else pixels.to(mask)
