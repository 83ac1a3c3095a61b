"""Zero-shot segmentation of DAVIS-like clips, scored by region similarity J and boundary measure F.

Words cannot tell two objects of one kind apart, so objects that share a word are scored together, as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.video_maps import clip_maps, frames_at_once
from ca_seg.data.video.davis import Clip, DavisVideo
from ca_seg.decision.clip import clip_masks
from ca_seg.errors import UnknownName, UserError
from ca_seg.metrics.video import SequenceScores, score_sequence, video_scores
from ca_seg.vocabulary import Vocabulary, check_single_words, check_template

BACKGROUND = ("background", "ground", "sky", "wall", "tree", "grass", "water")


@dataclass(frozen=True)
class ClipWords:
    """How the words of a clip and those of its background are asked.

    Args:
        background: words for what is no object
        template: a sentence to put each phrase into, with one {}
        synonyms: further phrases of a clip's word
    """

    background: Sequence[str] = BACKGROUND
    template: str = "{}"
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def vocabulary(self, classes: Sequence[str]) -> Vocabulary:
        """The background as class 0, then the clip's words. A background word that is one of their phrases is excluded.

        Raises UserError for a template without one {}, and for two phrases that are the same.
        """
        phrases = [(name, *self.synonyms.get(name, ())) for name in classes]
        taken = {phrase.casefold() for of_class in phrases for phrase in of_class}
        background = tuple(word for word in self.background if word.casefold() not in taken)
        return Vocabulary(("(background)", *classes), (background, *phrases), background=0).in_template(self.template)

    def phrases(self, words: Sequence[str], *, with_background: bool) -> tuple[str, ...]:
        """All phrases for the words of all clips. Raises UserError for synonyms of no word, and a comma in a word."""
        for name in self.synonyms:
            if name not in words:
                raise UnknownName("word with synonyms", name, words)
        phrases = [phrase for word in words for phrase in (word, *self.synonyms.get(word, ()))]
        check_template(self.template)
        check_single_words(self.background)
        every = dict.fromkeys((*phrases, *(self.background if with_background else ())))
        return tuple(self.template.replace("{}", phrase) for phrase in every)


def score_clips(
    backbone: Backbone,
    data: DavisVideo,
    readout: ReadoutConfig,
    *,
    words: ClipWords = ClipWords(),
    frames: str = "all",
    seed: int = 0,
    announce: Callable[[SequenceScores], None] = lambda scores: None,
) -> dict[str, Any]:
    """J and F of every clip and of the whole, for results.json.

    Args:
        data: the clips, with words for their objects
        readout: how the backbone's maps are read
        words: how they are asked
        frames: all, or inner (without the first and the last)
        seed: of the noise, which is the same for all frames
        announce: called with the scores of a clip when it is done

    Returns:
        "metrics": `j_and_f`, and for `j` and `f` each mean, recall and decay, 0..1; "clips": the same per clip
        and word; "skipped": [clip, reason] of each clip that could not be scored, such as one with a broken frame

    Raises the last of these reasons where no clip could be scored.
    """
    scored: list[SequenceScores] = []
    classes: dict[str, tuple[str, ...]] = {}
    skipped: list[list[str]] = []
    for index in range(len(data)):
        try:
            clip = data[index]
            indices = range(1, 1 + len(clip.classes))
            pieces = _pieces(backbone, data, clip, words.vocabulary(clip.classes), readout, seed)
            scored.append(score_sequence(clip.name, indices, pieces, frames=frames))  # type: ignore[arg-type]
        except UserError as problem:
            skipped.append([data.names[index], str(problem)])
            if index == len(data) - 1 and not scored:
                raise
            continue
        classes[clip.name] = clip.classes
        announce(scored[-1])
    whole = video_scores(scored)
    return {
        "metrics": {"j_and_f": whole.mean, "j": vars(whole.region), "f": vars(whole.boundary)},
        "clips": {
            s.name: {
                "frames": s.frames,
                "words": {
                    word: {"j": vars(o.region), "f": vars(o.boundary)}
                    for word, o in zip(classes[s.name], s.objects, strict=True)
                },
            }
            for s in scored
        },
        "skipped": skipped,
    }


def _pieces(
    backbone: Backbone, data: DavisVideo, clip: Clip, vocabulary: Vocabulary, readout: ReadoutConfig, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(prediction, ground truth) of some frames in turn: 0 background, 1 + the index of a word."""
    at_once = frames_at_once(backbone, readout)
    maps = clip_maps(backbone, data.frames(clip, at_once=at_once), vocabulary, readout, seed=seed, present=clip.classes)
    for piece, ground_truth in zip(maps, data.masks(clip, at_once=at_once, by="word"), strict=True):
        yield clip_masks(*piece), ground_truth
