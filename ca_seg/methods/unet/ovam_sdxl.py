"""OVAM on Stable Diffusion XL: the keys of an attribution prompt at the queries of the image pass.

Marcos-Manchon et al. 2024, Open-Vocabulary Attention Maps with Token Optimization for Semantic Segmentation in
Diffusion Models, section 3.2. As in their code the attribution prompt has no padding, and maps are resized bilinearly.
Tokens are not optimised. Timestep and noise are those of `daam-sdxl`; the settings of the published figures on real
pictures are not known.
"""

from __future__ import annotations

from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.unet.daam_sdxl import SDXL, TIMESTEP, sdxl_reader
from ca_seg.methods.unet.predictor import AttributionSettings, OpenVocabularyAttribution

CARD = MethodCard(
    name="ovam-sdxl",
    summary="Attention of a U-Net's image queries to the keys of words that its prompt does not have.",
    paper="Marcos-Manchon et al. 2024, Open-Vocabulary Attention Maps (CVPR 2024)",
    kind="U-Net",
    words="free",
    takes="pipeline",
    weights=(SDXL,),
    options=("resolution",),
)


def open_predictor(inputs: MethodInputs) -> OpenVocabularyAttribution:
    """On a `StableDiffusionXLPipeline`: the base model or a finetune."""
    return OpenVocabularyAttribution(CARD.name, sdxl_reader(inputs, CARD), AttributionSettings(TIMESTEP))
