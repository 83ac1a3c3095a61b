"""Generate an image or video with its concept maps: the stock pipeline runs, and every step is asked (`trace.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.base import SkippedBlock, TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.images import resize_out
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.folder_parts import assemble
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import OutOfRange, UserError
from ca_seg.seed_range import check_seed
from ca_seg.vocabulary import Words


@dataclass(frozen=True)
class Generated:
    """A generated image or video, and its concept maps.

    Attributes:
        images: one image, or the frames of one video
        maps: probabilities [1, K, H, W] in the size of the image, mean over the steps; for a video [1, K, F, H, W]
    """

    images: list[Image.Image]
    maps: torch.Tensor


@torch.no_grad()
def generate(
    backbone: Backbone | str,
    prompt: str,
    vocabulary: Words,
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    steps: int = 4,
    guidance: float = 0.0,
    shift: float = 1.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
) -> Generated:
    """Generate an image (or video) from a prompt, with maps of where words are in it.

    Args:
        backbone: a backbone with all its blocks (`load_backbone(name, last_layer=56)` for FLUX.1), or a name, which
            is loaded on the CPU
        prompt: what to generate
        vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary
        height: pixels (default: the card's resolution)
        width: pixels (default: the card's resolution)
        frames: of a video (default: 1); ignored by families of images
        steps: of the scheduler
        guidance: the guidance scale; 0 is none
        shift: moves the schedule towards noise (1: not at all), for weights that have no scheduler, as those that ship
        seed: of the noise
        layers: the joint attentions that maps read (default: the card's)
        on_step: is called after every step with its number, from 1, and its maps [1, K, h, w]

    Returns:
        The image, or the frames of the video, with a map per word.

    Raises:
        UserError: if blocks are missing, or for something that is not words
        OutOfRange: for a size below that of a token, for a number of steps or frames below 1, and for what is no seed

    Example:
        >>> result = generate("mini", "a cat on grass", ["cat", "grass"])
        >>> result.images[0], result.maps.argmax(1)
    """
    if isinstance(backbone, str):
        backbone = load_backbone(backbone, last_layer=last_layer_of(find_card(backbone)))
    _check(backbone, prompt, steps=steps, height=height, width=width, frames=frames)
    check_seed(seed)
    check_whole_backbone(backbone)
    family = backbone.family
    text = encoded_prompt(backbone, prompt)
    pipeline = stock_pipeline(backbone, shift=shift)
    settings: dict[str, Any] = {
        "height": height or backbone.card.resolution,
        "width": width or backbone.card.resolution,
        "num_inference_steps": steps,
        **family.guided(pipeline, guidance),
        "generator": torch.Generator().manual_seed(seed),
    }
    if family.video:
        settings |= {"num_frames": frames or 1}
    with GenerationTrace(backbone, vocabulary, layers=layers, on_step=on_step) as trace:
        output = pipeline(**family.prompt_arguments(text), **settings)
    images = [_as_pil(image) for image in (output.frames[0] if family.video else output.images)]
    size = images[0].size
    count = len(images) if family.video else None
    maps = resize_out(trace.maps(), size[1], size[0], frames=count, frames_per_latent=family.frames_per_latent)
    return Generated(images, maps)


def _check(backbone: Backbone, prompt: str, **numbers: int | None) -> None:
    if not isinstance(backbone, Backbone):
        raise UserError(f"the backbone is {backbone!r}", allowed="a name of the zoo, or a loaded backbone")
    if not isinstance(prompt, str):
        raise UserError(f"the prompt is {prompt!r}", allowed="text")
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise OutOfRange(f"{name} is {number}", allowed="1 or more")
        if number is not None and name in ("height", "width") and number < backbone.card.multiple:
            raise OutOfRange(f"{name} is {number} pixels", allowed=f"{backbone.card.multiple} or more")


def check_whole_backbone(backbone: Backbone) -> None:
    """Raises UserError for a backbone that was loaded without its last blocks: it cannot generate."""
    skipped = sum(isinstance(module, SkippedBlock) for module in backbone.transformer.modules())
    if skipped:
        raise UserError(
            f"{backbone.card.name} was loaded with {backbone.layers} of its blocks and cannot generate",
            fix=f"load it with last_layer={backbone.layers + skipped - 1}",
        )


def last_layer_of(card: Card) -> int | None:
    """The last layer of the whole transformer, to load it with; None for weights that ship, which are always whole."""
    if card.folder:
        return None
    family = find_family(card.family)
    return len(family.blocks(build(family, card.architecture, tables=False))) - 1


def encoded_prompt(backbone: Backbone, prompt: str) -> TextTokens:
    """A prompt as the stock pipeline of the backbone takes it, on its device."""
    device, dtype = backbone.device, backbone.dtype
    return backbone.text.prompt([prompt]).each(lambda x: x.to(device, dtype if x.is_floating_point() else x.dtype))


def stock_pipeline(backbone: Backbone, *, name: str | None = None, shift: float = 1.0) -> Any:
    """A pipeline of diffusers that shares the parts of a backbone, without text encoders.

    Args:
        backbone: loaded
        name: the pipeline's class (default: the family's)
        shift: of the schedule towards noise, for weights that have no scheduler
    """
    if name is None and backbone.family.needs_picture(backbone.transformer):
        raise UserError(
            f"{backbone.card.name} paints inside a mask, and generates nothing from text alone",
            fix="take `ca_seg.edit`, or another backbone",
        )
    parts = {
        "transformer": backbone.transformer,
        "vae": backbone.autoencoder,
        "scheduler": backbone.scheduler or _scheduler(shift),
    }
    return assemble(backbone.family, parts, name)


def _scheduler(shift: float) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler  # here: it takes seconds to import

    return FlowMatchEulerDiscreteScheduler(shift=shift)


def _as_pil(image: Image.Image | np.ndarray) -> Image.Image:
    """Pipelines give frames as images, or as numbers 0..1."""
    if isinstance(image, np.ndarray):
        return Image.fromarray((255 * image).round().astype(np.uint8))
    return image
