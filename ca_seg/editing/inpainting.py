"""Which pipeline paints inside a mask, and its call.

the family's inpainting pipeline     shares the parts of the loaded backbone (one line per family below)
blended latents                      the family's text-to-image pipeline, for families without one
a user's pipeline                    FLUX.1-Fill, Qwen-Image-Edit ...: it has its own parts
"""

from __future__ import annotations

import copy
import functools
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.registry import is_exported
from ca_seg.backbones.generate import check_whole_backbone, encoded_prompt, stock_pipeline
from ca_seg.backbones.images import as_tensor, resize_in
from ca_seg.backbones.loading.card import Card
from ca_seg.editing.blended_latents import BlendedLatents
from ca_seg.editing.region import Region
from ca_seg.errors import OutOfRange, UserError

BLENDED = "blended"
TWO_PASSES = "true_cfg_scale"  # the guidance of Qwen-Image's pipelines


# Blended latents do the work of two that are left out. In diffusers 0.42.1, StableDiffusion3InpaintPipeline decodes
# without the autoencoder's shift, so that colours are off; ChromaInpaintPipeline reads a setting that Chroma lacks.
BY_FAMILY = {
    "flux": "FluxInpaintPipeline",
    "flux2-klein": "Flux2KleinInpaintPipeline",
    "qwen-image": "QwenImageInpaintPipeline",
    "z-image": "ZImageInpaintPipeline",
}
BY_CARD = {  # finetunes with a call of their own
    "flux1-kontext-dev": "FluxKontextInpaintPipeline",
    "flux1-fill-dev": "FluxFillPipeline",
}
DECODE_WITHOUT_SHIFT = ("StableDiffusion3InpaintPipeline",)  # a user's: its latents are decoded here


@dataclass(frozen=True)
class Painting:
    """How a region is painted.

    Args:
        prompt: what the region shall show
        strength: 0 (excluded) to 1: how much of the schedule runs. At 1 the region starts from noise alone; below, from
            the noised photograph
        steps: of the whole schedule; None: the pipeline's default
        guidance: the guidance scale; None: the pipeline's default
        seed: of the noise
    """

    prompt: str
    strength: float = 1.0
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises OutOfRange."""
        if not 0 < self.strength <= 1:
            raise OutOfRange(f"a strength of {self.strength}", allowed="above 0, at most 1")
        if self.steps is not None and self.steps < 1:
            raise OutOfRange(f"{self.steps} steps", allowed="1 or more")


def inpainting_of(card: Card) -> str | None:
    """The inpainting pipeline of a card; None where there is none, and for the weights that ship."""
    known = BY_CARD.get(card.name) or BY_FAMILY.get(card.family)
    return known if known is not None and not card.folder and is_exported(known) else None


def paint(
    backbone: Backbone, photograph: torch.Tensor, region: Region, painting: Painting, pipeline: Any = None
) -> Any:
    """A photograph in which a region is painted anew, in the backbone's working size.

    Args:
        backbone: loaded with all its blocks, unless the pipeline is a user's
        photograph: [3, H, W], 0..1
        region: in the photograph's size
        painting: what and how
        pipeline: None (as `inpainting_of`), "blended", or a loaded pipeline whose call takes image and mask_image

    Returns:
        A PIL image. What is outside the region is close to the photograph, and not the same.

    Raises:
        UserError: for a backbone without its last blocks, a guidance that it does not have, a prompt that is too long
    """
    small = resize_in(photograph[None], backbone.card.resolution, backbone.card.multiple)
    mask = region.in_size(*small.shape[-2:])
    if pipeline is None or pipeline == BLENDED:
        check_whole_backbone(backbone)
        known = None if pipeline == BLENDED else inpainting_of(backbone.card)
        if known is None:
            return _blend(backbone, small, mask, painting)
        pipeline = stock_pipeline(backbone, name=known)
        prompt, guidance = _encoded(backbone, painting), backbone.family.guidance_argument
    else:
        prompt, guidance = {"prompt": painting.prompt}, guidance_argument(pipeline)
        if guidance == TWO_PASSES:  # without a negative prompt, these pipelines leave the scale out
            prompt["negative_prompt"] = " "
    arguments = {
        "image": _as_pil(small),
        "mask_image": Image.fromarray(mask).convert("L"),
        "strength": painting.strength,
        "max_area": small.shape[-2] * small.shape[-1],  # FLUX.1-Kontext would choose another size
        "_auto_resize": False,
    }
    taken = inspect.signature(pipeline.__call__).parameters
    prompt = {name: value for name, value in prompt.items() if name in taken or not name.startswith("negative_")}
    arguments = {name: value for name, value in arguments.items() if name in taken}
    settings = _settings(painting, guidance, *small.shape[-2:])
    if type(pipeline).__name__ in DECODE_WITHOUT_SHIFT:
        return _decoded(pipeline, pipeline(**prompt, **arguments, **settings, output_type="latent").images)
    return pipeline(**prompt, **arguments, **settings).images[0]


@torch.no_grad()
def _decoded(pipeline: Any, latents: torch.Tensor) -> Image.Image:
    """Latents as StableDiffusion3Pipeline decodes them: z / scale + shift."""
    vae = pipeline.vae
    decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
    image: Image.Image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
    return image


def _blend(backbone: Backbone, photograph: torch.Tensor, mask: Any, painting: Painting) -> Image.Image:
    """Blended latents. Below a strength of 1 the schedule begins one step early, and that step is thrown away."""
    pipeline = stock_pipeline(backbone)
    steps = painting.steps or inspect.signature(pipeline.__call__).parameters["num_inference_steps"].default
    skipped = int(steps - min(steps * painting.strength, steps))
    if skipped:
        pipeline.scheduler = _from_step(pipeline.scheduler, skipped - 1)
    blend = BlendedLatents(backbone, photograph, mask, from_photograph=min(skipped, 1), seed=painting.seed)
    settings = _settings(painting, backbone.family.guidance_argument, blend.height, blend.width)
    output = pipeline(**_encoded(backbone, painting), **settings, callback_on_step_end=blend)
    image: Image.Image = output.images[0]
    return image


def _settings(painting: Painting, guidance: str, height: int, width: int) -> dict[str, Any]:
    """The arguments that all pipelines have."""
    settings: dict[str, Any] = {
        "height": height,
        "width": width,
        "num_inference_steps": painting.steps,
        guidance: painting.guidance,
        "generator": torch.Generator().manual_seed(painting.seed),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _encoded(backbone: Backbone, painting: Painting) -> dict[str, Any]:
    """The prompt, and the empty one, from which guidance leads away. Raises UserError for a guidance without effect."""
    family, guided = backbone.family, _has_guidance(backbone.family.name, backbone.transformer)
    if painting.guidance is not None and not guided:
        raise UserError(f"{backbone.card.name} has no guidance", fix="leave it out")
    prompt, empty = encoded_prompt(backbone, painting.prompt), encoded_prompt(backbone, "")
    off = {} if guided else {family.guidance_argument: 1.0}  # by default, FLUX.2-klein's pipelines guide
    return family.prompt_arguments(prompt, empty) | off


def _has_guidance(family: str, transformer: Any) -> bool:
    """FLUX.1 and FLUX.2 take guidance as an input, where their weights were distilled with it; others by two passes."""
    if family in ("flux", "flux2"):
        return bool(transformer.config.guidance_embeds)
    return family != "flux2-klein"


def guidance_argument(pipeline: Any) -> str:
    """Qwen-Image's `guidance_scale`, which has no default, is for distilled models; its scale is `true_cfg_scale`."""
    parameters = inspect.signature(pipeline.__call__).parameters
    scale = parameters.get("guidance_scale")
    unused = scale is None or scale.default is None
    return TWO_PASSES if unused and TWO_PASSES in parameters else "guidance_scale"


def _from_step(scheduler: Any, first: int) -> Any:
    """A copy of a scheduler whose schedule begins at its step `first`."""
    later = copy.deepcopy(scheduler)
    stock = later.set_timesteps

    @functools.wraps(stock)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        stock(*args, **kwargs)
        later.timesteps, later.sigmas = later.timesteps[first:], later.sigmas[first:]

    later.set_timesteps = set_timesteps
    return later


def _as_pil(image: torch.Tensor) -> Image.Image:
    pixels = (255 * as_tensor(image)[0]).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
