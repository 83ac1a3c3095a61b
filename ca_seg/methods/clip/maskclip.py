"""MaskCLIP: in CLIP's last block every patch keeps its own value in place of the attention's mix.

    output of patch i = value of patch i      (Zhou et al. 2022, section 3.2)

The block's skip connection and feed-forward part stay, as in the authors' code for vision transformers. Key smoothing
and prompt denoising are left out, as in the authors' configurations. The whole image is seen at once.
"""

from __future__ import annotations

from torch import Tensor

from ca_seg.methods.card import MethodCard
from ca_seg.methods.clip.encoders import VIT_B_16, open_encoders
from ca_seg.methods.clip.patches import PatchPredictor, patch_features
from ca_seg.methods.inputs import MethodInputs

RESOLUTION = 512 / 224  # times the side of the training images
SCALE = 100.0  # CLIP's own

CARD = MethodCard(
    name="maskclip",
    summary="CLIP whose last block keeps each patch's value; the cosine of patch and words.",
    paper="Zhou et al. 2022, Extract Free Dense Labels from CLIP (arXiv 2112.01071)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_B_16,),
    options=("tokenizer", "resolution", "templates"),
)


def keep_values(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The values of the patches [B, heads, N, d]."""
    return value[:, :, 1:]


def open_predictor(inputs: MethodInputs) -> PatchPredictor:
    """On the model that is given, or ViT-B/16."""
    clip = open_encoders(inputs, CARD, VIT_B_16)

    def features(images: Tensor) -> Tensor:
        return patch_features(clip, images, keep_values, residual=True)

    resolution = inputs.resolution or round(clip.image_size * RESOLUTION)
    return PatchPredictor(CARD.name, clip, features, resolution, window=None, scale=SCALE)
