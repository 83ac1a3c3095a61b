"""Layer-wise relevance propagation from a class to the pixels, the LRP baseline of Chefer et al. 2021.

The map has the size of the network's input: the relevance of a pixel, summed over its colours.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ca_seg.errors import UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.method import WordPredictor
from ca_seg.methods.vit.class_relevance import ClassRelevance, open_relevance
from ca_seg.methods.vit.network import Trace
from ca_seg.methods.vit.relevance import Rules, check_propagation, propagate, recorded_modules, to_pixels
from ca_seg.methods.vit.weights import SUPERVISED, open_network

CARD = MethodCard(
    name="lrp",
    summary="Relevance of a class, passed backwards through every layer to the pixels.",
    paper="Bach et al. 2015, On Pixel-Wise Explanations (PLOS ONE 10), for transformers by Chefer et al. 2021 "
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
    return open_lrp(CARD, inputs, pixel_relevance)


def pixel_relevance(trace: Trace, targets: Tensor, rules: Rules) -> Tensor:
    """The relevance of every pixel [B, H, W], summed over its colours."""
    return to_pixels(propagate(trace, targets, rules).tokens, trace).sum(dim=1)


def open_lrp(
    card: MethodCard, inputs: MethodInputs, relevance: Callable[[Trace, Tensor, Rules], Tensor]
) -> WordPredictor:
    """A method of layer-wise relevance propagation; `relevance` makes its map with the rules that are chosen."""
    network, rules = open_network(card, inputs), lrp_rules(inputs)
    check_propagation(network)
    modules, options = tuple(recorded_modules(network)), (("lrp_rule", inputs.lrp_rule or "reference"),)
    how = ClassRelevance(
        lambda trace, targets: relevance(trace, targets, rules), modules, gradients=False, options=options
    )
    return open_relevance(card, network, inputs, how)


def lrp_rules(inputs: MethodInputs) -> Rules:
    """The rules of the LRP baselines. Raises UserError for an unknown one."""
    if inputs.lrp_rule not in (None, "reference", "conserving"):
        raise UserError(f"lrp_rule is {inputs.lrp_rule!r}", allowed="reference, conserving")
    return Rules(conserving=inputs.lrp_rule == "conserving", balanced=False)
