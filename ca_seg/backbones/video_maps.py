"""Class maps of a video, piece by piece, so that memory does not grow with its length.

video family     49 frames at once: tokens look at tokens of other frames
image family     each frame is an image of its own
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import resize_out
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.vocabulary import Vocabulary

WINDOW = 49  # frames that CogVideoX and HunyuanVideo were trained on at least; 4k + 1
BATCH = 8  # images at once


def frames_at_once(backbone: Backbone) -> int:
    return WINDOW if backbone.family.video else BATCH


def clip_maps(
    backbone: Backbone, pieces: Iterable[torch.Tensor], vocabulary: Vocabulary, readout: ReadoutConfig, *, seed: int = 0
) -> Iterator[torch.Tensor]:
    """Class maps [F, K, H, W] of each piece of frames [F, 3, H, W] in 0..1, F at most `frames_at_once`.

    All frames have one noise, so that what changes from frame to frame is the video and not the noise.
    """
    for frames in pieces:
        height, width = frames.shape[-2:]
        if backbone.family.video:
            maps = readout.record(backbone, frames.transpose(0, 1)[None], [seed]).maps(vocabulary)
            yield resize_out(maps, height, width, frames=len(frames))[0].transpose(0, 1)
        else:
            maps = readout.record(backbone, frames, [seed] * len(frames)).maps(vocabulary)
            yield resize_out(maps, height, width)
