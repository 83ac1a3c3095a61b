"""DINOv2: the class token's attention in the last block."""

from __future__ import annotations

from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.last_attention import open_last_attention

CARD = MethodCard(
    name="dinov2",
    summary="DINOv2: the class token's attention in the last block.",
    paper="Oquab et al. 2023, DINOv2 (arXiv 2304.07193)",
    kind="self-supervised ViT",
    words="none",
    takes="model",
    weights=(Weights("timm/vit_base_patch14_dinov2.lvd142m", "Apache-2.0"),),
    options=("resolution",),
)
RESOLUTION = 518  # pixels of the short side, the size that the weights were trained at last


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on the published weights."""
    return open_last_attention(CARD, inputs, resolution=RESOLUTION)
