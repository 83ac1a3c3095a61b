"""A generated image or video with its maps: the family's stock pipeline runs, every step is asked (`trace.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL.Image import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.base import SkippedBlock
from ca_seg.backbones.images import resize_out
from ca_seg.backbones.loading.folder_parts import assemble
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Generated:
    """What was generated, and the class maps gathered while it was made."""

    images: list[Image]  # one image, or the frames of one video
    maps: torch.Tensor  # [1, K, H, W]; of a video [1, K, F, H, W]


@torch.no_grad()
def generate(
    backbone: Backbone,
    prompt: str,
    vocabulary: Vocabulary,
    *,
    height: int,
    width: int,
    frames: int | None = None,
    steps: int = 4,
    guidance: float = 0.0,
    shift: float = 1.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Generated:
    """Run the family's stock pipeline on `prompt` and ask each of its steps where the words are.

    The backbone must hold all its blocks: `load_backbone(name, last_layer=56)` for FLUX.1. The scheduler is the
    weights' own; where they have none (the shipped ones) it is flow matching, and `shift` moves its schedule towards
    noise (1 = none). `frames` for video families. Raises UserError when blocks are missing.
    """
    transformer, family = backbone.transformer, backbone.family
    absent = sum(isinstance(module, SkippedBlock) for module in transformer.modules())
    if absent:
        raise UserError(
            f"{backbone.card.name} was loaded with {backbone.layers} of its blocks and cannot generate",
            fix=f"load it with last_layer={backbone.layers + absent - 1}",
        )
    text = backbone.text.prompt([prompt])
    placed = text.each(lambda x: x.to(backbone.device, backbone.dtype if x.is_floating_point() else x.dtype))
    scheduler = backbone.scheduler or FlowMatchEulerDiscreteScheduler(shift=shift)
    pipeline = assemble(family, {"transformer": transformer, "vae": backbone.autoencoder, "scheduler": scheduler})
    settings = {
        "height": height,
        "width": width,
        "num_inference_steps": steps,
        family.guidance_argument: guidance,
        "generator": torch.Generator().manual_seed(seed),
    }
    if family.video:
        settings |= {"num_frames": frames or 1}
    with GenerationTrace(backbone, vocabulary, layers=layers) as trace:
        made = pipeline(**family.prompt_arguments(placed), **settings)
    images = _images(made.frames[0] if family.video else made.images)
    size = images[0].size
    return Generated(images, resize_out(trace.maps(), size[1], size[0], frames=len(images) if family.video else None))


def _images(made: Sequence[Image] | np.ndarray) -> list[Image]:
    """Frames come as images or as numbers 0..1, by the pipeline."""
    from PIL import Image as Pil

    return [
        Pil.fromarray((255 * image).round().astype(np.uint8)) if isinstance(image, np.ndarray) else image
        for image in made
    ]
