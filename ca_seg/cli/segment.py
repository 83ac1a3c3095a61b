"""`ca-seg segment PHOTO --concepts cat grass`: one's own images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from ca_seg.atomic import atomic_write
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.data.read import read_image
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.errors import UnreadableImage, UserError
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.overlay import overlay
from ca_seg.vocabulary import Vocabulary

MOST = 254


def segment(args: argparse.Namespace) -> int:
    """Writes, for each image, below `args.out`:

        STEM_overlay.png     the image, coloured, with a legend
        STEM_mask.png        palette PNG in the image's own size: 1 = the first concept, 2 = the second ...
        STEM_heatmaps.png    one heat map per concept
        STEM_scores.json     share of the image and mean score of each concept

    An image that cannot be read is reported and the others go on; the exit status is then 1.
    """
    vocabulary = Vocabulary.from_names(args.concepts, template=args.template)
    if len(args.concepts) > MOST:
        raise UserError(f"{len(args.concepts)} concepts", allowed=f"1 to {MOST}, for masks have 8 bits")
    _check_stems(args.images)
    backbone = load_backbone(
        args.backbone,
        weights=args.weights,
        gguf=args.gguf,
        device=args.device,
        precision=args.precision,
        offload=args.offload,
        phrase_pooling=args.phrase_pooling,
        resolution=args.resolution,
        last_layer=max(args.layers) if args.layers else None,
    )
    backbone.text.concepts(vocabulary.concepts, backbone.card.phrase_pooling)  # an unknown word ends it here
    failed = 0
    for image in args.images:
        try:
            _segment_one(image, vocabulary, backbone, args)
        except UnreadableImage as problem:
            if len(args.images) == 1:
                raise
            print(f"skipped: {problem}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _segment_one(image: Path, vocabulary: Vocabulary, backbone: Backbone, args: argparse.Namespace) -> None:
    image = read_image(image)
    height, width = image.shape[1:]
    recording = backbone.record(
        image,
        layers=args.layers,
        timesteps=args.timestep,
        samples=args.samples,
        seed=image_seed(args.seed, image.stem),
    )
    maps = recording.ask(vocabulary).maps(space=args.space or backbone.card.space)
    result = predict_mask(maps, height, width)
    mask, names, image_id = result.mask[0].cpu().numpy(), vocabulary.classes, args.out / image.stem
    pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    heat = heatmap_strip(pixels, maps[0].float().cpu().numpy(), names)
    for kind, view in (("overlay", overlay(pixels, mask, names)), ("heatmaps", heat)):
        with atomic_write(Path(f"{image_id}_{kind}.png")) as part:
            view.save(part, format="PNG")
    write_mask(Path(f"{image_id}_mask.png"), mask, lambda indices: (indices + 1).astype(np.uint8))
    scores = {
        name: {
            "mask_id": i + 1,
            "share": float((mask == i).mean()),
            "mean_score": float(result.scores[0, i].mean()),
            "highest_score": float(result.scores[0, i].max()),
        }
        for i, name in enumerate(names)
    }
    about = {"image": str(image), "backbone": backbone.card.name, "size": [width, height], "concepts": scores}
    with atomic_write(Path(f"{image_id}_scores.json")) as part:
        part.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = ", ".join(f"{name} {100 * s['share']:.0f} %" for name, s in scores.items())
    confidence = float(torch.as_tensor(result.confidence).mean())
    print(f"{image.name}: {shown} (mean confidence {confidence:.2f}); {image_id}_overlay.png")


def _check_stems(images: list[Path]) -> None:
    image_ids = [image.stem for image in images]
    twice = next((image_id for image_id in image_ids if image_ids.count(image_id) > 1), None)
    if twice is not None:
        raise UserError(f"two images are called {twice!r}, and would overwrite each other's files", fix="rename one")
