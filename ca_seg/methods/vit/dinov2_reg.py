"""DINOv2 with registers, which take the attention that else falls on a few background patches."""

from __future__ import annotations

from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.last_attention import open_last_attention

CARD = MethodCard(
    name="dinov2-reg",
    summary="DINOv2 with registers, which take the attention that else falls on a few background patches.",
    paper="Darcet et al. 2024, Vision Transformers Need Registers (arXiv 2309.16588)",
    kind="self-supervised ViT",
    words="none",
    takes="model",
    weights=(Weights("timm/vit_base_patch14_reg4_dinov2.lvd142m", "Apache-2.0"),),
    options=("resolution",),
)
RESOLUTION = 518  # pixels of the short side, the size that the weights were trained at last


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on the published weights."""
    return open_last_attention(CARD, inputs, resolution=RESOLUTION)
