"""TextSpan: what each patch adds to CLIP's image vector directly, through the attention of the class token.

    image vector = projection(layer norm(class token))
    class token  = Σ over layers (attention) + Σ over layers (feed-forward) + embedding
    attention of a layer = Σ over heads and tokens: weight(class token, token) · value(token) · output weights

With the layer norm's mean and deviation held at those of the image, everything is linear, and the image vector is a sum
over patches, the class token and the rest (Gandelsman et al. 2024, section 3 and equation 4). A patch's score for a
phrase is its part, summed over layers and heads, times the phrase's vector. Their text basis of heads, which gave the
method its name, is not needed for maps.

`contribution` is exact: the parts of the tokens and the rest add up to the image vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ca_seg.methods.card import MethodCard
from ca_seg.methods.clip.encoders import VIT_H_14, ClipEncoders, open_encoders
from ca_seg.methods.clip.patches import grid_size, heads_of, hidden_input
from ca_seg.methods.image_size import check_image_size
from ca_seg.methods.inputs import MethodInputs
from ca_seg.vocabulary import Vocabulary

CARD = MethodCard(
    name="textspan",
    summary="The part of CLIP's image vector that each patch adds through attention, times the words' vectors.",
    paper="Gandelsman et al. 2024, Interpreting CLIP's Image Representation (arXiv 2310.05916)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_H_14,),
    options=("tokenizer", "resolution", "templates"),
)


@torch.no_grad()
def token_contributions(clip: ClipEncoders, images: Tensor) -> Tensor:
    """What the class token and the patches add to the image vector through the attention of all layers.

    Args:
        clip: the encoders
        images: [B, 3, H, W] in 0..1, the sides multiples of the patch

    Returns:
        [B, 1 + N, D], the class token first, in units of the image vector's length
    """
    vision = clip.model.vision_model
    added: list[Tensor] = []

    def record(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        query, key, value = heads_of(module, hidden_input(args, kwargs))
        weights = (query[:, :, :1] @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        tokens = (weights.transpose(-1, -2) * value).transpose(1, 2).flatten(2)  # [B, 1 + N, heads * d]
        added.append(module.out_proj(tokens) - module.out_proj.bias * (1 - 1 / tokens.shape[1]))

    handles = [layer.self_attn.register_forward_hook(record, with_kwargs=True) for layer in vision.encoder.layers]
    try:
        class_token = vision(clip.normalised(images), interpolate_pos_encoding=True).last_hidden_state[:, :1]
    finally:
        for handle in handles:
            handle.remove()
    tokens, norm = torch.stack(added).sum(dim=0), vision.post_layernorm
    # the norm's mean and offset are shared out to 2 * layers + 1 parts, and in an attention part to its tokens
    share = len(added) / ((2 * len(added) + 1) * tokens.shape[1])
    deviation = (class_token.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    scaled = norm.weight * (tokens - share * class_token.mean(dim=-1, keepdim=True)) / deviation + share * norm.bias
    image_vector = clip.model.visual_projection(norm(class_token))
    return (clip.model.visual_projection(scaled) / image_vector.norm(dim=-1, keepdim=True)).float()


@dataclass(frozen=True)
class TextSpan:
    """Class maps from the parts of CLIP's image vector.

    Args:
        clip: the encoders
        resolution: pixels of both sides; images are squeezed to a square, as in the authors' evaluation
    """

    clip: ClipEncoders
    resolution: int
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "model": self.clip.architecture,
            "resolution": self.resolution,
            "templates": list(self.clip.templates),
        }

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for words that are too long."""
        self.clip.check_phrases(vocabulary.concepts)

    def predict(
        self,
        images: Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], Tensor] | None = None,
    ) -> Contributions:
        check_image_size(images, CARD.name, self.clip.patch)
        square = (self.resolution, self.resolution)
        resized = interpolate(images, square, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        patches = token_contributions(self.clip, resized)[:, 1:]
        return Contributions(self.clip, patches.transpose(1, 2).unflatten(2, grid_size(resized, self.clip.patch)))


@dataclass(frozen=True)
class Contributions:
    """What each patch adds to the image vector.

    Args:
        clip: gives the words' vectors
        patches: [B, D, h, w]
    """

    clip: ClipEncoders
    patches: Tensor

    def select(self, image: int) -> Contributions:
        return replace(self, patches=self.patches[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> Tensor:
        """Scores [B, K, h, w] without a fixed range; a class has that of its best phrase."""
        words = self.clip.phrase_vectors(vocabulary.concepts)
        return vocabulary.pool(torch.einsum("bdhw,cd->bchw", self.patches, words))


def open_predictor(inputs: MethodInputs) -> TextSpan:
    """On the model that is given, or ViT-H/14."""
    clip = open_encoders(inputs, CARD, VIT_H_14)
    resolution = inputs.resolution or clip.image_size
    return TextSpan(clip, resolution // clip.patch * clip.patch)
