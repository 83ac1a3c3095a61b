"""ProxyCLIP: in CLIP's last block patches attend to those that DINO finds alike.

    S = cosines of DINO's patches            (Lan et al. 2024, section 3.3)
    attention = softmax(γ (S - β mean S)), and 0 where that is negative      β = 1.2, γ = 3

CLIP's values are resized (bilinear) to DINO's finer grid, on which the maps are. The last block's skip connection and
feed-forward part are left out. The mean of S is of each image.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ca_seg.errors import UserError
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.clip.encoders import VIT_B_16, ClipEncoders, normalised, open_encoders
from ca_seg.methods.clip.patches import RESOLUTION, SCALE, PatchPredictor, grid_size, patch_features
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.weights import reading

MEAN_FACTOR = 1.2  # β
SHARPNESS = 3.0  # γ
DINO_B_8 = Weights("facebook/dino-vitb8", licence="Apache-2.0")

CARD = MethodCard(
    name="proxyclip",
    summary="CLIP whose last block attends by the similarity of DINO's patches; the cosine of patch and words.",
    paper="Lan et al. 2024, ProxyCLIP: Proxy Attention Improves CLIP (arXiv 2408.04883)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_B_16, DINO_B_8),
    options=("tokenizer", "guide", "resolution", "templates"),
)


def proxy_attention(features: Tensor) -> Tensor:
    """Attention [B, N, N] from the guide's features of N patches [B, N, D].

    A patch always attends to itself, so that a row of an image of one colour is not empty.
    """
    unit = normalize(features.float(), dim=-1)
    similarity = unit @ unit.transpose(1, 2)
    logits = SHARPNESS * (similarity - MEAN_FACTOR * similarity.mean(dim=(1, 2), keepdim=True))
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    return logits.masked_fill((logits < 0) & ~itself, float("-inf")).softmax(dim=-1)


def attend_by_proxy(
    query: Tensor, key: Tensor, value: Tensor, *, weights: Tensor, clip_grid: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """Outputs [B, heads, M, d] on the guide's grid of M patches, from its attention [B, M, M]."""
    batch, heads, _, depth = value.shape
    patches = value[:, :, 1:].transpose(-1, -2).reshape(batch * heads, depth, *clip_grid)
    resized = interpolate(patches, grid, mode="bilinear", align_corners=False)
    return weights[:, None].to(value) @ resized.reshape(batch, heads, depth, -1).transpose(-1, -2)


def open_guide(inputs: MethodInputs, clip: ClipEncoders) -> Any:
    """The guide that is given, or DINO ViT-B/8. Raises UserError for another network, or a patch that does not fit."""
    from transformers import ViTModel

    guide: Any = inputs.guide
    if guide is None and inputs.model is None:
        with reading(DINO_B_8, CARD):
            guide = ViTModel.from_pretrained(DINO_B_8.repository, revision=DINO_B_8.revision, add_pooling_layer=False)
    if not isinstance(guide, ViTModel):
        what = "there is no guide beside the model" if guide is None else f"the guide is a {type(guide).__name__}"
        raise UserError(what, allowed="a transformers ViTModel, such as DINO: guide=...")
    patch: Any = guide.config.patch_size
    if clip.patch % patch:
        raise UserError(
            f"the guide has patches of {patch} pixels and CLIP of {clip.patch}",
            allowed="a guide whose patches divide CLIP's",
        )
    return guide.eval().to(inputs.device)


@torch.no_grad()
def guide_features(guide: Any, images: Tensor) -> Tensor:
    """The guide's last, normalised features of patches [B, N, D], without its class token."""
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    pixels = normalised(images, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD).to(guide.device, guide.dtype)
    states: Tensor = guide(pixels, interpolate_pos_encoding=True).last_hidden_state
    return states[:, 1:]


def open_predictor(inputs: MethodInputs) -> PatchPredictor:
    """On the models that are given, or CLIP ViT-B/16 and DINO ViT-B/8."""
    clip = open_encoders(inputs, CARD, VIT_B_16)
    guide = open_guide(inputs, clip)

    def features(images: Tensor) -> Tensor:
        grid = grid_size(images, guide.config.patch_size)
        attend = partial(
            attend_by_proxy,
            weights=proxy_attention(guide_features(guide, images)),
            clip_grid=grid_size(images, clip.patch),
            grid=grid,
        )
        return patch_features(clip, images, attend, residual=False, grid=grid)

    side = round(clip.image_size * RESOLUTION)
    resolution = inputs.resolution or side
    return PatchPredictor(CARD.name, clip, features, resolution, window=side, scale=SCALE, stride=side // 3)
