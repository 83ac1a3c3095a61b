"""Zero-shot segmentation of DAVIS-like clips, scored by region similarity J and boundary measure F.

Words cannot tell two objects of one kind apart, so objects that share a word are scored together, as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.video_maps import clip_maps, frames_at_once
from ca_seg.data.video.davis import Clip, DavisVideo
from ca_seg.decision.clip import clip_masks
from ca_seg.metrics.video import SequenceScores, score_sequence, video_scores
from ca_seg.vocabulary import Vocabulary

BACKGROUND = ("background", "ground", "sky", "wall", "tree", "grass", "water")


def clip_vocabulary(clip: Clip, background: Sequence[str]) -> Vocabulary:
    """The background as class 0, then the clip's words. A background word that is also a clip's word is excluded."""
    taken = {word.casefold() for word in clip.classes}
    background = tuple(word for word in background if word.casefold() not in taken)
    return Vocabulary(("(background)", *clip.classes), (background, *((word,) for word in clip.classes)), background=0)


def score_clips(
    backbone: Backbone,
    data: DavisVideo,
    readout: ReadoutConfig,
    *,
    background: Sequence[str] = BACKGROUND,
    frames: str = "all",
    seed: int = 0,
    announce: Callable[[SequenceScores], None] = lambda scores: None,
) -> dict[str, Any]:
    """J and F of every clip and of the whole, for results.json.

    Args:
        data: the clips, with words for their objects
        readout: how the backbone's maps are read
        background: words for what is no object
        frames: all, or inner (without the first and the last)
        seed: of the noise, which is the same for all frames
        announce: called with the scores of a clip when it is done

    Returns:
        "metrics": `j_and_f`, and for `j` and `f` each mean, recall and decay, 0..1; "clips": the same per clip and word
    """
    scored: list[SequenceScores] = []
    for index in range(len(data)):
        clip = data[index]
        indices = range(1, 1 + len(clip.classes))
        pieces = _pieces(backbone, data, clip, clip_vocabulary(clip, background), readout, seed)
        scored.append(score_sequence(clip.name, indices, pieces, frames=frames))  # type: ignore[arg-type]
        announce(scored[-1])
    whole = video_scores(scored)
    return {
        "metrics": {"j_and_f": whole.mean, "j": vars(whole.region), "f": vars(whole.boundary)},
        "clips": {
            s.name: {
                "frames": s.frames,
                "words": {
                    word: {"j": vars(o.region), "f": vars(o.boundary)}
                    for word, o in zip(data[i].classes, s.objects, strict=True)
                },
            }
            for i, s in enumerate(scored)
        },
    }


def _pieces(
    backbone: Backbone, data: DavisVideo, clip: Clip, vocabulary: Vocabulary, readout: ReadoutConfig, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(prediction, ground truth) of some frames in turn: 0 background, 1 + the index of a word."""
    at_once = frames_at_once(backbone, readout)
    maps = clip_maps(backbone, data.frames(clip, at_once=at_once), vocabulary, readout, seed=seed, present=clip.classes)
    for piece, ground_truth in zip(maps, data.masks(clip, at_once=at_once, by="word"), strict=True):
        yield clip_masks(*piece), ground_truth
