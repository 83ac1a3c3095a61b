"""DINO: self-supervised by self-distillation; the class token's attention in the last block."""

from __future__ import annotations

from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.last_attention import open_last_attention

CARD = MethodCard(
    name="dino",
    summary="DINO: self-supervised by self-distillation; the class token's attention in the last block.",
    paper="Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers (arXiv 2104.14294)",
    kind="self-supervised ViT",
    words="none",
    takes="model",
    weights=(Weights("timm/vit_small_patch8_224.dino", "Apache-2.0"),),
    options=("resolution",),
)
RESOLUTION = 480  # pixels of the short side, as in the authors' script for attention maps


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on the published weights."""
    return open_last_attention(CARD, inputs, resolution=RESOLUTION)
