"""The arguments of `ca-seg video` and `ca-seg video-eval`, apart from what they run, so that `--help` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction) -> None:
    """`video` and `video-eval`."""
    video = commands.add_parser("video", help="segment a video by words")
    video.add_argument("video", type=Path, help="a video file, or a folder of frames")
    video.add_argument("--concepts", nargs="+", required=True, metavar="WORD")
    video.add_argument("--template", default="{}", help='a sentence to put each concept into: "a photo of a {}"')
    video.add_argument("--fps", type=float, help="frames a second of the overlay (default: the video's)")
    video.add_argument("--out", type=Path, default=Path("out/video"))
    video.set_defaults(run=_video)
    scored = commands.add_parser("video-eval", help="zero-shot J and F on clips in the DAVIS layout")
    scored.add_argument("--root", type=Path, required=True, help="has JPEGImages, Annotations and ImageSets")
    scored.add_argument("--year", type=int, default=2017)
    scored.add_argument("--split", default="val")
    scored.add_argument("--resolution_folder", default="480p", help="the folder below JPEGImages")
    scored.add_argument("--words", type=Path, help='what the objects are: {"bear": {"1": "bear"}} (JSON or YAML)')
    scored.add_argument("--background", nargs="+", metavar="WORD", help="what is not an object")
    scored.add_argument("--frames", default="all", help="all, or inner (without the first and the last)")
    scored.add_argument("--out", type=Path, default=Path("out/video-eval"))
    scored.set_defaults(run=_clips)
    for command in (video, scored):
        command.add_argument("--backbone", default="mini", metavar="NAME", help="a name from `ca-seg zoo list`")
        command.add_argument("--weights", type=Path, help="a local folder with the weights")
        command.add_argument("--device", default="cpu", help="cpu, cuda or mps")
        command.add_argument("--precision", help="fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8")
        command.add_argument("--resolution", type=int, help="pixels of the short side (default: the card's)")
        command.add_argument("--layers", type=int, nargs="+", help="the joint attentions that maps read")
        command.add_argument("--timestep", type=float, help="0 (clean) to 1 (noise)")
        command.add_argument("--space", help="output, cross-attention or value")
        command.add_argument("--seed", type=int, default=0)


def _video(args: argparse.Namespace) -> int:
    from ca_seg.cli.video import segment_video_file

    return segment_video_file(args)


def _clips(args: argparse.Namespace) -> int:
    from ca_seg.cli.video import evaluate_clips

    return evaluate_clips(args)
