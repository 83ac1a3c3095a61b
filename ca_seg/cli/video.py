"""`ca-seg video VIDEO --concepts dog grass` and `ca-seg video-eval --root DAVIS`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import tee
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.video_maps import clip_maps, frames_at_once
from ca_seg.data.video.davis import DavisVideo
from ca_seg.data.video.reader import frame_rate, video_frames
from ca_seg.evaluation.video import BACKGROUND, score_clips
from ca_seg.json_file import write_json
from ca_seg.metrics.video import SequenceScores
from ca_seg.versions import versions
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.video import write_overlay_video
from ca_seg.vocabulary import Vocabulary


def segment_video_file(args: argparse.Namespace) -> int:
    """Writes OUT/overlay.mp4, OUT/masks/00000.png ... (1 = the first concept) and OUT/classes.json."""
    vocabulary = Vocabulary.from_names(args.concepts, template=args.template)
    backbone, readout = _backbone(args), _reading(args)
    backbone.text.concepts(vocabulary.concepts, backbone.card.phrase_pooling)  # an unknown word ends it here
    pieces, again = tee(video_frames(args.video, frames_at_once(backbone)))
    maps = clip_maps(backbone, pieces, vocabulary, readout, seed=args.seed)
    frames, masks = tee(_frame_by_frame(again, maps, args.out / "masks"))
    video = args.out / "overlay.mp4"
    images, masks = (frame for frame, _ in frames), (mask for _, mask in masks)
    rate = args.fps or frame_rate(args.video)
    count = write_overlay_video(video, images, masks, range(len(args.concepts)), rate)
    classes = {str(i + 1): name for i, name in enumerate(vocabulary.classes)}
    write_json(args.out / "classes.json", {"classes": classes})
    print(f"{count} frames: {video}, {args.out / 'masks'}")
    return 0


def _frame_by_frame(
    pieces: Iterable[torch.Tensor], maps: Iterable[torch.Tensor], folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame, uint8 [H, W, 3], with its mask [H, W], which is written on its way."""
    number = 0
    for piece, scores in zip(pieces, maps, strict=True):
        frames = (255 * piece).round().byte().permute(0, 2, 3, 1).numpy()
        for frame, mask in zip(frames, scores.argmax(dim=1).byte().cpu().numpy(), strict=True):
            write_mask(folder / f"{number:05d}.png", mask, lambda indices: (indices + 1).astype(np.uint8))
            number += 1
            yield frame, mask


def evaluate_clips(args: argparse.Namespace) -> int:
    """Scores every clip of a split; prints a table and writes OUT/results.json."""
    console = Console()
    data = DavisVideo(args.root, args.year, args.split, args.resolution_folder, words=args.words)
    backbone, readout = _backbone(args), _reading(args)

    def tell(scores: SequenceScores) -> None:
        parts = ", ".join(f"J {100 * o.region.mean:.1f} F {100 * o.boundary.mean:.1f}" for o in scores.objects)
        console.print(f"{scores.name}: {scores.frames} frames, {parts}", highlight=False)

    results = score_clips(
        backbone, data, readout, background=args.background or BACKGROUND, frames=args.frames, seed=args.seed, tell=tell
    )
    results |= {
        "method": args.backbone,
        "reading": readout.resolved(backbone),
        "dataset": {"root": str(args.root), "year": args.year, "split": args.split, "frames": args.frames},
        "background": list(args.background or BACKGROUND),
        "seed": args.seed,
        "versions": versions(),
    }
    write_json(args.out / "results.json", results)
    metrics = results["metrics"]
    table = Table("J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay", box=None, pad_edge=False)
    row = [metrics["j_and_f"], *metrics["j"].values(), *metrics["f"].values()]
    table.add_row(*(f"{100 * value:.1f}" for value in row))
    console.print(table)
    print(args.out / "results.json")
    return 0


def _backbone(args: argparse.Namespace) -> Backbone:
    return load_backbone(
        args.backbone,
        weights=args.weights,
        device=args.device,
        precision=args.precision,
        resolution=args.resolution,
        last_layer=max(args.layers) if args.layers else None,
    )


def _reading(args: argparse.Namespace) -> ReadoutConfig:
    layers = None if args.layers is None else tuple(args.layers)
    return ReadoutConfig(layers, None if args.timestep is None else (args.timestep,), space=args.space)
