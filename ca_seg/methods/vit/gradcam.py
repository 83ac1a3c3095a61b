"""GradCAM on the attention of the last block, as Chefer et al. 2021 adapt it to transformers (section 4, baselines).

weight of a head = mean over patches of d logit / d (class token's attention to the patch)
map = max(0, mean over heads of weight x attention)
"""

from __future__ import annotations

from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.method import WordPredictor
from ca_seg.methods.vit.class_relevance import ClassRelevance, attention_gradients, open_relevance
from ca_seg.methods.vit.network import Trace
from ca_seg.methods.vit.weights import SUPERVISED, open_network

CARD = MethodCard(
    name="gradcam",
    summary="The last block's attention of the class token, its heads weighted by the gradient of a class.",
    paper="Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391), for transformers by Chefer et al. 2021 "
    "(arXiv 2012.09838)",
    kind="supervised ViT",
    words="fixed",
    takes="model",
    weights=(SUPERVISED,),
    class_list="imagenet-1k",
    options=("resolution", "class_names", "target"),
)


def open_predictor(inputs: MethodInputs) -> WordPredictor:
    """On the given timm VisionTransformer, or on ViT-B/16 of ImageNet."""
    return open_relevance(CARD, open_network(CARD, inputs), inputs, ClassRelevance(gradcam))


def gradcam(trace: Trace, targets: Tensor) -> Tensor:
    """Maps [B, rows, columns] of the classes `targets` [B]."""
    (gradient,) = attention_gradients(trace, targets, [len(trace.attention) - 1])
    attention = trace.attention[-1].detach()
    prefix = trace.network.prefix
    rows = slice(0, 1) if trace.network.has_class_token else slice(prefix, None)
    weights = gradient[:, :, rows, prefix:].mean(dim=(2, 3), keepdim=True)
    return trace.image_row((weights * attention).mean(dim=1)).clamp_min(0)
