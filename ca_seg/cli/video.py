"""`ca-seg video VIDEO --concepts dog grass` and `ca-seg video-eval --root DAVIS`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ca_seg.cli.parser import JobParser, settings_of
from ca_seg.cli.stopping import when_stopped
from ca_seg.errors import UserError
from ca_seg.jobs.video import VideoEvaluationSettings, VideoSettings, evaluate_video, video
from ca_seg.metrics.video import SequenceScores

EXAMPLE = "ca-seg video dog.mp4 --concepts dog grass"


@dataclass(frozen=True)
class VideoArguments(VideoSettings):
    """Options of the command.

    Args:
        concepts: the words to look for
    """

    concepts: list[str] = field(default_factory=list)


def run_video(arguments: Sequence[str]) -> int:
    """0 when the overlay and the masks are written."""
    description = (
        "Segment a video by words: ca-seg video VIDEO --concepts dog grass. VIDEO is a video file, or a folder of "
        "frames. Words may also stand without --concepts, before or after the video."
    )
    parser = JobParser("ca-seg video", description, VideoArguments)
    parsed, positional = parser.parse_with_positional(arguments)
    videos = [text for text in positional if os.path.exists(text) or Path(text).suffix]
    if len(videos) != 1:
        missing = f": there is no {' and no '.join(map(repr, positional))}" if positional else ""
        what = f"{len(videos)} videos are given" if videos else f"no video was given{missing}"
        raise UserError(what, allowed="one video file, or folder of frames", fix=f"an example: {EXAMPLE}")
    words = [*(text for text in positional if text not in videos), *parsed.concepts]
    if not words:
        raise UserError("no word was given", fix=f"name what to look for: {EXAMPLE}")
    settings = settings_of(parsed, VideoSettings)
    advice = f"the masks so far are in {settings.out}/masks, without an overlay; the same command again begins anew"
    with when_stopped(lambda: advice):
        result = video(videos[0], words, settings)
    print(f"{result.frames} frames: {result.overlay}, {result.masks}")
    return 0


def run_evaluation(arguments: Sequence[str]) -> int:
    """0 when every clip is scored, 1 when some are skipped; prints each clip, a table, and the path of results.json."""
    description = "Zero-shot segmentation of clips in the DAVIS layout, scored by J and F."
    parser = JobParser("ca-seg video-eval", description, VideoEvaluationSettings, out="out/video-eval")
    settings, console = parser.parse(arguments), Console()

    def announce(scores: SequenceScores) -> None:
        parts = ", ".join(f"J {100 * o.region.mean:.1f} F {100 * o.boundary.mean:.1f}" for o in scores.objects)
        console.print(f"{scores.name}: {scores.frames} frames, {parts}", highlight=False)

    results = evaluate_video(settings=settings, announce=announce)
    for name, reason in results.skipped:
        console.print(f"{name} is skipped: {reason}", highlight=False, markup=False, soft_wrap=True)
    metrics = results.metrics
    table = Table("J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay", box=None, pad_edge=False)
    values = [metrics["j_and_f"], *metrics["j"].values(), *metrics["f"].values()]
    table.add_row(*(f"{100 * value:.1f}" for value in values))
    console.print(table)
    print(Path(settings.out) / "results.json")
    return 1 if results.skipped else 0
