"""SCLIP: in CLIP's last block patches attend to patches that are like them (correlative self-attention).

    attention = softmax(QQᵀ / √d) + softmax(KKᵀ / √d)      (Wang et al. 2024, section 3.2; its rows add up to 2)

The block's skip connection and feed-forward part stay.
"""

from __future__ import annotations

from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.clip.encoders import VIT_B_16, open_encoders
from ca_seg.methods.clip.patches import RESOLUTION, SCALE, PatchPredictor, patch_features
from ca_seg.methods.inputs import MethodInputs

CARD = MethodCard(
    name="sclip",
    summary="CLIP whose last block attends by query-query and key-key similarity; the cosine of patch and words.",
    paper="Wang et al. 2024, SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference (arXiv 2312.01597)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_B_16,),
    options=("tokenizer", "resolution", "templates"),
)


def attend_to_alike(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Outputs of the patches [B, heads, N, d]; they attend to the class token too."""
    scale = query.shape[-1] ** -0.5
    weights = sum((part[:, :, 1:] @ part.transpose(-1, -2) * scale).softmax(dim=-1) for part in (query, key))
    return weights @ value


def open_predictor(inputs: MethodInputs) -> PatchPredictor:
    """On the model that is given, or ViT-B/16."""
    clip = open_encoders(inputs, CARD, VIT_B_16)

    def features(images: Tensor) -> Tensor:
        return patch_features(clip, images, attend_to_alike, residual=True)

    resolution = inputs.resolution or round(clip.image_size * RESOLUTION)
    return PatchPredictor(CARD.name, clip, features, resolution, window=clip.image_size, scale=SCALE)
