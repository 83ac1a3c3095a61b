"""Raw attention: what the class token of a supervised vision transformer attends to in its last block."""

from __future__ import annotations

from ca_seg.methods.card import MethodCard
from ca_seg.methods.foreground_predictor import ForegroundPredictor
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.vit.last_attention import open_last_attention
from ca_seg.methods.vit.weights import SUPERVISED

CARD = MethodCard(
    name="vit-attention",
    summary="The class token's attention in the last block, mean over heads.",
    paper="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words (arXiv 2010.11929)",
    kind="supervised ViT",
    words="none",
    takes="model",
    weights=(SUPERVISED,),
    options=("resolution",),
)


def open_predictor(inputs: MethodInputs) -> ForegroundPredictor:
    """On the given timm VisionTransformer, or on ViT-B/16 of ImageNet."""
    return open_last_attention(CARD, inputs)
