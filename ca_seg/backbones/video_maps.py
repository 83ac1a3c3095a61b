"""Class maps of a video in pieces, so that memory does not grow with its length.

video family     49 frames at once: tokens attend to tokens of other frames
image family     every frame is a separate image
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import latent_frames
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.choices import CAPTIONER
from ca_seg.vocabulary import Words, as_vocabulary

WINDOW = 49  # frames; CogVideoX and HunyuanVideo were trained on at least so many; 4k + 1, and 6k + 1 for Mochi
BATCH = 8  # images at once


def frames_at_once(backbone: Backbone, readout: ReadoutConfig) -> int:
    """How many frames a piece may have."""
    if backbone.family.video:
        return WINDOW
    return 1 if readout.prompt == CAPTIONER else BATCH  # captions differ in length


def clip_maps(
    backbone: Backbone,
    pieces: Iterable[torch.Tensor],
    vocabulary: Words,
    readout: ReadoutConfig,
    *,
    seed: int = 0,
    present: Sequence[str] | None = None,
) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Class maps of a video on the grid of tokens, piece by piece.

    All frames get the same noise, so that maps change from frame to frame with the video and not with the noise.

    Args:
        backbone: of images or of videos
        pieces: frames [F, 3, H, W] in 0..1, with at most `frames_at_once(backbone, readout)` frames
        vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary
        readout: how maps are read
        seed: of the noise
        present: in evaluations the classes that the video shows, for the prompt `present`

    Yields:
        For every piece [F, K, h, w], and the height and width of its frames. Frames of one latent frame have the same
        maps.
    """
    words = as_vocabulary(vocabulary)
    for frames in pieces:
        if backbone.family.video:
            video, seeds = frames.transpose(0, 1)[None], [seed]
        else:
            video, seeds = frames, [seed] * len(frames)
        shown = None if present is None else [present] * len(seeds)
        maps = readout.record(backbone, video, seeds, vocabulary=words, present=shown, words=[words]).maps(words)
        if backbone.family.video:
            maps = maps[:, :, None] if maps.ndim == 4 else maps
            maps = maps[0].transpose(0, 1)[latent_frames(len(frames), maps.shape[2], backbone.family.frames_per_latent)]
        yield maps, *frames.shape[-2:]
