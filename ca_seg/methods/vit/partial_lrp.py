"""Partial LRP: relevance of a class in the attention of the last block, not passed on to earlier ones.

relevance of the last attention [B, heads, N, N] ──positive part, mean over heads──► row of the class token
"""

from __future__ import annotations

from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.method import WordPredictor
from ca_seg.methods.vit.lrp import open_lrp
from ca_seg.methods.vit.network import Trace
from ca_seg.methods.vit.relevance import Rules, propagate
from ca_seg.methods.vit.weights import SUPERVISED

CARD = MethodCard(
    name="partial-lrp",
    summary="Relevance of a class in the attention of the last block.",
    paper="Voita et al. 2019, Analyzing Multi-Head Self-Attention (arXiv 1905.09418), for images by Chefer et al. 2021 "
    "(arXiv 2012.09838)",
    kind="supervised ViT",
    words="fixed",
    takes="model",
    weights=(SUPERVISED,),
    class_list="imagenet-1k",
    options=("resolution", "class_names", "target", "lrp_rule"),
)


def open_predictor(inputs: MethodInputs) -> WordPredictor:
    """On the given timm VisionTransformer, or on ViT-B/16 of ImageNet."""
    return open_lrp(CARD, inputs, last_attention_relevance)


def last_attention_relevance(trace: Trace, targets: Tensor, rules: Rules) -> Tensor:
    """The positive relevance of the patches in the last block's attention, mean over heads."""
    last = propagate(trace, targets, rules, last=len(trace.attention) - 1).attention[-1]
    return trace.image_row(last.clamp_min(0).mean(dim=1))
