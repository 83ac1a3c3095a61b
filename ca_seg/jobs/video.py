"""Segmentation of a video by words, and its evaluation on clips with masks in the DAVIS layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.video_maps import clip_maps, frames_at_once
from ca_seg.concept.choices import ORACLE, PRESENT
from ca_seg.data.video.davis import DavisVideo
from ca_seg.data.video.reader import frame_rate, video_frames
from ca_seg.decision.clip import clip_masks
from ca_seg.errors import OutOfRange, UserError
from ca_seg.evaluation.video import BACKGROUND, ClipWords, score_clips
from ca_seg.jobs.arguments import check_folder, check_path, checked_settings
from ca_seg.jobs.video_folder import VideoFolder
from ca_seg.jobs.without_effect import refuse_without_effect
from ca_seg.jobs.words import check_words
from ca_seg.json_file import write_json
from ca_seg.metrics.video import SequenceScores
from ca_seg.predictors.settings import BackboneSettings, choose_backbone
from ca_seg.seed_range import check_seed
from ca_seg.versions import versions
from ca_seg.visual.video import write_overlay_video
from ca_seg.vocabulary import Words, as_vocabulary

PER_IMAGE = ("window", "scales")  # options of the backbone that read an image several times


@dataclass(frozen=True)
class VideoSettings:
    """Options of the segmentation of a video.

    Args:
        model: the backbone, and how its maps are read
        fps: frames per second of the overlay; None: the video's
        seed: of the noise, which is the same for all frames
        device: cpu, cuda, cuda:1 or mps
        out: the folder of the overlay and the masks
    """

    model: BackboneSettings = field(default_factory=BackboneSettings)
    fps: float | None = None
    seed: int = 0
    device: str = "cpu"
    out: str = "out/video"


@dataclass(frozen=True)
class VideoSegmentation:
    """What `video` wrote.

    Args:
        frames: how many there are
        classes: the class of number 1, 2 ... in the masks
        overlay: the video with the classes laid over it, an MP4 file
        masks: the folder of masks, 00000.png and so on, one per frame
        unseen: the phrases that training never taught, each with the taught word that is nearest in meaning; None: it
            is not known what training taught
    """

    frames: int
    classes: tuple[str, ...]
    overlay: Path
    masks: Path
    unseen: dict[str, str] | None = None


def video(
    path: str | Path,
    classes: Words,
    settings: VideoSettings | None = None,
    *,
    backbone: str | Backbone | None = None,
    out: str | Path | None = None,
    device: str | None = None,
) -> VideoSegmentation:
    """Segment a video by words, and write an overlay video, a mask per frame and the list of classes.

    Writes OUT/classes.json, OUT/masks/00000.png ... (1 = the first class) and OUT/overlay.mp4, in this order, in place
    of what a former run wrote there. Memory does not grow with the length of the video.

    Args:
        path: a video file, an animated image, or a folder of frames
        classes: what to look for, such as ["dog", "grass"]
        settings: all other options
        backbone: a name of the zoo, or a loaded backbone; in place of `settings.model.backbone`
        out: in place of `settings.out`
        device: in place of `settings.device`

    Returns:
        The number of frames, the classes, and where the overlay and the masks are.

    Raises:
        UserError: for words, settings or weights that cannot be used, for a folder without images, and for an `out`
            with masks or an overlay that are not of a segmented video
        UnreadableImage: for a file that is no video, or breaks off

    Example:
        >>> result = ca_seg.video("dog.mp4", ["dog", "grass"], out="out/dog")
        >>> result.overlay
    """
    check_path("the video", path)
    settings = checked_settings(settings, VideoSettings())
    settings = replace(settings, out=str(out or settings.out), device=device or settings.device)
    folder, source = VideoFolder(Path(settings.out)), Path(path)
    if settings.fps is not None and not settings.fps > 0:
        raise OutOfRange(f"fps {settings.fps:g}", allowed="more than 0, or none (the video's own)")
    check_seed(settings.seed)
    check_folder(settings.out)
    folder.check(source)
    vocabulary = as_vocabulary(classes, template=settings.model.template, synonyms=settings.model.synonyms)
    rate = frame_rate(source) if settings.fps is None else settings.fps
    model, loaded = _chosen(settings.model, backbone)
    unseen = check_words(model, vocabulary.concepts, loaded)
    loaded = model.load(settings.device, loaded)
    loaded.text.concepts(vocabulary.concepts, loaded.card.phrase_pooling)  # encoded once
    pieces, pieces_again = tee(video_frames(source, frames_at_once(loaded, model)))
    maps = clip_maps(loaded, pieces, vocabulary, model, seed=settings.seed)
    for_frames, for_masks = tee(_frames_and_masks(pieces_again, maps, vocabulary.classes, unseen, folder))
    count = write_overlay_video(
        folder.overlay,
        (frame for frame, _ in for_frames),
        (mask for _, mask in for_masks),
        range(len(vocabulary.classes)),
        rate,
        names=vocabulary.classes,
    )
    return VideoSegmentation(count, vocabulary.classes, folder.overlay, folder.masks, unseen)


def _frames_and_masks(
    pieces: Iterable[torch.Tensor],
    maps: Iterable[tuple[torch.Tensor, int, int]],
    classes: Sequence[str],
    unseen: Mapping[str, str] | None,
    folder: VideoFolder,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame, uint8 [H, W, 3], with its mask [H, W], which is written before it is given."""
    number = 0
    for piece, piece_maps in zip(pieces, maps, strict=True):
        frames = (255 * piece).round().byte().permute(0, 2, 3, 1).numpy()
        for frame, mask in zip(frames, clip_masks(*piece_maps).numpy(), strict=True):
            if number == 0:  # not before: a video that cannot be read replaces nothing
                folder.begin(classes, unseen)
            folder.write_mask(number, mask)
            number += 1
            yield frame, mask


@dataclass(frozen=True)
class VideoEvaluationSettings:
    """Options of an evaluation on clips in the DAVIS layout.

    Args:
        model: the backbone, and how its maps are read
        root: the folder that has JPEGImages, Annotations and ImageSets
        year: 2016 (one object per clip) or 2017
        split: a list in ImageSets/YEAR
        resolution_folder: the folder below JPEGImages and Annotations
        words: a JSON or YAML file that says what the objects are, as {"bear": {"1": "bear"}}
        background: words for what is no object; None: seven that are usual
        frames: all, or inner (without the first and the last, as DAVIS does for tracking)
        seed: of the noise, which is the same for all frames
        device: cpu, cuda, cuda:1 or mps
        out: the folder of results.json; None: nothing is written
    """

    model: BackboneSettings = field(default_factory=BackboneSettings)
    root: str | None = None
    year: int = 2017
    split: str = "val"
    resolution_folder: str = "480p"
    words: str | None = None
    background: list[str] | None = None
    frames: str = "all"
    seed: int = 0
    device: str = "cpu"
    out: str | None = None


@dataclass(frozen=True)
class VideoResults:
    """The results of an evaluation on clips: `content` is what results.json holds."""

    content: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """`j_and_f`, and for `j` and `f` each mean, recall and decay, 0..1."""
        return self.content["metrics"]

    @property
    def skipped(self) -> list[list[str]]:
        """[clip, reason] of each clip that could not be scored."""
        return self.content["skipped"]

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/results.json; its path."""
        path = Path(folder) / "results.json"
        write_json(path, self.content)
        return path


def evaluate_video(
    root: str | Path | None = None,
    settings: VideoEvaluationSettings | None = None,
    *,
    backbone: str | Backbone | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    announce: Callable[[SequenceScores], None] = lambda scores: None,
) -> VideoResults:
    """Score zero-shot segmentation on every clip of a split: region similarity J and boundary measure F.

    Args:
        root: a folder in the DAVIS layout, in place of `settings.root`
        settings: all other options
        backbone: a name of the zoo, or a loaded backbone; in place of `settings.model.backbone`
        out: in place of `settings.out`
        device: in place of `settings.device`
        announce: called with the scores of a clip when it is done

    Returns:
        J, F and their mean, over all objects and for each clip, and the clips that could not be scored.

    Raises:
        UserError: for a folder, words, settings or weights that cannot be used, and where no clip can be scored

    Example:
        >>> ca_seg.evaluate_video("DAVIS", backbone="mini").metrics["j_and_f"]
    """
    settings = checked_settings(settings, VideoEvaluationSettings())
    settings = replace(
        settings,
        root=settings.root if root is None else str(root),
        out=settings.out if out is None else str(out),
        device=device or settings.device,
    )
    if settings.root is None:
        raise UserError("there is no folder of clips", fix="give root: it has JPEGImages, Annotations and ImageSets")
    check_seed(settings.seed)
    check_folder(settings.out)
    clips = DavisVideo(settings.root, settings.year, settings.split, settings.resolution_folder, words=settings.words)
    background = tuple(settings.background or BACKGROUND)
    model, loaded = _chosen(settings.model, backbone)
    words = ClipWords(background, model.template, model.synonyms or {})
    asked = words.phrases(clips.words, with_background=settings.background is not None)
    unseen = check_words(model, asked, loaded, ground_truth=True)
    loaded = model.load(settings.device, loaded)
    scores = score_clips(
        loaded, clips, model, words=words, frames=settings.frames, seed=settings.seed, announce=announce
    )
    content = scores | {
        "method": loaded.card.name + (ORACLE if model.prompt == PRESENT else ""),
        "readout": model.resolved(loaded),
        "dataset": {
            "root": settings.root,
            "year": settings.year,
            "split": settings.split,
            "frames": settings.frames,
        },
        "background": list(background),
        "unseen": unseen,
        "seed": settings.seed,
        "versions": versions(),
    }
    results = VideoResults(content)
    if settings.out is not None:
        results.save(settings.out)
    return results


def _chosen(model: BackboneSettings, backbone: str | Backbone | None) -> tuple[BackboneSettings, Backbone | None]:
    """The settings to use, and the loaded backbone where one was given; UserError for options without effect."""
    refuse_without_effect(model, PER_IMAGE, "a video: frames are read once, as a whole")
    return choose_backbone(model, backbone)
