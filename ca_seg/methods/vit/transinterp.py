"""TransInterp, "Transformer interpretability beyond attention visualization": gradient times relevance, rolled out.

C_b = mean over heads of max(0, gradient of the class by the attention of block b  x  its relevance)
map = row of the class token in  (I + C_last) ... (I + C_2) (I + C_1)          (Chefer et al. 2021, equations 13, 14)
"""

from __future__ import annotations

from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.method import WordPredictor
from ca_seg.methods.vit.class_relevance import ClassRelevance, attention_gradients, open_relevance
from ca_seg.methods.vit.network import Trace
from ca_seg.methods.vit.relevance import Rules, check_propagation, propagate, recorded_modules
from ca_seg.methods.vit.rollout import checked_start, rollout
from ca_seg.methods.vit.weights import SUPERVISED, open_network

CARD = MethodCard(
    name="transinterp",
    summary="Gradient times relevance of the attention of every block, multiplied as in rollout.",
    paper="Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization (arXiv 2012.09838)",
    kind="supervised ViT",
    words="fixed",
    takes="model",
    weights=(SUPERVISED,),
    class_list="imagenet-1k",
    options=("resolution", "class_names", "target", "start_layer"),
)


def open_predictor(inputs: MethodInputs) -> WordPredictor:
    """On the given timm VisionTransformer, or on ViT-B/16 of ImageNet."""
    network = open_network(CARD, inputs)
    check_propagation(network)
    start = checked_start(inputs.start_layer, network)

    def relevance(trace: Trace, targets: Tensor) -> Tensor:
        blocks = range(start, len(trace.attention))
        attention = propagate(trace, targets, Rules(), last=start).attention
        gradients = attention_gradients(trace, targets, blocks)
        steps = [(g * r).clamp_min(0).mean(dim=1) for g, r in zip(gradients, attention, strict=True)]
        return trace.image_row(rollout(steps, normalise=False))

    modules = tuple(recorded_modules(network))
    return open_relevance(CARD, network, inputs, ClassRelevance(relevance, modules, options=(("start_layer", start),)))
