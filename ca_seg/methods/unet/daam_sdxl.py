"""DAAM on Stable Diffusion XL: the sum of resized cross-attention maps (Tang et al. 2023, section 3.1).

The settings are those of the evaluation of Helbling et al. 2025: 512 pixels, the last of 50 timesteps (1 of 1000), five
noise samples. The maps of the middle block are left out, as in the authors' code.
"""

from __future__ import annotations

from typing import Any

from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.unet.daam_sd2 import LAYERS
from ca_seg.methods.unet.pipeline import open_pipeline
from ca_seg.methods.unet.predictor import AttributionSettings, PromptAttribution

TIMESTEP = 0.001
RESOLUTION = 512  # the weights are made for 1024
SDXL = Weights(
    "stabilityai/stable-diffusion-xl-base-1.0",
    "CreativeML Open RAIL++-M",
    "462165984030d82259a11f4367a4eed129e94a7b",
)
CARD = MethodCard(
    name="daam-sdxl",
    summary="Cross-attention of a U-Net from image to the words of the prompt, summed over heads, layers and noise.",
    paper="Tang et al. 2023, What the DAAM: Interpreting Stable Diffusion Using Cross Attention (ACL 2023)",
    kind="U-Net",
    words="free",
    takes="pipeline",
    weights=(SDXL,),
    options=("resolution",),
)


def open_predictor(inputs: MethodInputs) -> PromptAttribution:
    """On a `StableDiffusionXLPipeline`: the base model or a finetune."""
    return PromptAttribution(CARD.name, sdxl_reader(inputs, CARD), AttributionSettings(TIMESTEP))


def sdxl_reader(inputs: MethodInputs, card: MethodCard) -> CrossAttentionReader:
    """The reader of a given pipeline, or of the real weights at the resolution of the published evaluation."""
    pipeline: Any = open_pipeline(inputs, card, "StableDiffusionXLPipeline")
    published = RESOLUTION if inputs.pipeline is None else None
    return CrossAttentionReader(pipeline, layers=LAYERS, resolution=inputs.resolution or published)
