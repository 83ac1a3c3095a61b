"""The masks of the frames of a clip, one frame at a time: memory is that of one frame."""

from __future__ import annotations

import torch

from ca_seg.decision.argmax import predict_mask


def clip_masks(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The mask of each frame, as `predict_mask` gives it.

    Args:
        maps: [F, K, h, w]; neighbours with the same maps are decided once
        height: of the frames, in pixels
        width: of the frames, in pixels

    Returns:
        uint8 [F, H, W], class indices, in main memory
    """
    masks = torch.empty(len(maps), height, width, dtype=torch.uint8)
    for frame, scores in enumerate(maps):
        if frame and torch.equal(scores, maps[frame - 1]):
            masks[frame] = masks[frame - 1]
        else:
            masks[frame] = predict_mask(scores[None], height, width).mask[0]
    return masks
