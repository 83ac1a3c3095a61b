"""CLIP vectors of every patch, by another attention in the last block: the core of MaskCLIP, SCLIP, NACLIP, ProxyCLIP.

    image ──► all blocks but the last, stock ──► last block ──► layer norm, projection ──► vector per patch [D]
                                                   │
              queries, keys, values ──► attend ────┘   in place of softmax(QKᵀ)V, whose rows hardly depend on the patch

A patch's score for a phrase is the cosine of the two vectors, scaled; its map is the softmax over the phrases. Images
are seen whole or in overlapping windows whose scores are averaged, as in the authors' evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ca_seg.backbones.images import resize_in, resize_maps
from ca_seg.methods.clip.encoders import ClipEncoders
from ca_seg.methods.image_size import check_image_size
from ca_seg.predictors.views import windows
from ca_seg.vocabulary import Vocabulary

# queries, keys, values [B, heads, 1 + N, d], the class token first, to the outputs of the patches [B, heads, M, d]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
PatchFeatures = Callable[[Tensor], Tensor]  # images [B, 3, H, W] in 0..1 to features [B, D, h, w]
RESOLUTION = 336 / 224  # of SCLIP, NACLIP and ProxyCLIP: the short side, times that of CLIP's training images
SCALE = 40.0  # of the same three


def grid_size(images: Tensor, patch: int) -> tuple[int, int]:
    """Rows and columns of patches in images [B, 3, H, W]."""
    return images.shape[-2] // patch, images.shape[-1] // patch


def heads_of(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B, heads, 1 + N, d] of an attention module of transformers' CLIP."""
    parts = (attention.q_proj(hidden), attention.k_proj(hidden), attention.v_proj(hidden))
    query, key, value = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts)
    return query, key, value


def hidden_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states that a module of transformers' CLIP was called with."""
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


@torch.no_grad()
def patch_features(
    clip: ClipEncoders, images: Tensor, attend: Attend, *, residual: bool, grid: tuple[int, int] | None = None
) -> Tensor:
    """CLIP vectors of patches, with another attention in the last block.

    Args:
        clip: the encoders
        images: [B, 3, H, W] in 0..1, the sides multiples of the patch
        attend: the attention's outputs for the patches
        residual: keep the last block's skip connection and feed-forward part; they need one output for each patch
        grid: rows and columns of the outputs; None: those of CLIP's patches

    Returns:
        [B, D, h, w], not normalised
    """
    vision, outputs = clip.model.vision_model, []

    def replace_attention(module: Any, args: Any, kwargs: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        attended = attend(*heads_of(module, hidden_input(args, kwargs)))
        outputs.append(module.out_proj(attended.transpose(1, 2).flatten(2)))
        if not residual:
            return output
        return (torch.cat([output[0][:, :1], outputs[0]], dim=1), *output[1:])

    last = vision.encoder.layers[-1].self_attn
    handle = last.register_forward_hook(replace_attention, with_kwargs=True)
    try:
        states = vision(clip.normalised(images), interpolate_pos_encoding=True).last_hidden_state
    finally:
        handle.remove()
    patches = states[:, 1:] if residual else outputs[0]
    features: Tensor = clip.model.visual_projection(vision.post_layernorm(patches))
    return features.transpose(1, 2).unflatten(2, grid or grid_size(images, clip.patch))


@dataclass(frozen=True)
class PatchPredictor:
    """Class maps from vectors of patches.

    Args:
        method: name of the method
        clip: the encoders
        features: the vectors of an image's patches
        resolution: pixels of the short side that images are resized to
        window: side of the windows in pixels, which overlap by half; None: the whole image, whose maps are on the grid
            of patches; with windows the maps have the size of the resized image
        scale: the softmax over phrases is of this times the cosine
        stride: from window to window, in pixels; None: half a window
    """

    method: str
    clip: ClipEncoders
    features: PatchFeatures
    resolution: int
    window: int | None
    scale: float
    stride: int | None = None
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "model": self.clip.architecture,
            "resolution": self.resolution,
            "window": self.window,
            "stride": self.stride,
            "scale": self.scale,
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
    ) -> PatchPrediction:
        check_image_size(images, self.method, self.clip.patch)
        resized = resize_in(images, self.resolution, self.clip.patch)
        height, width = resized.shape[-2:]
        if self.window is None:
            places = [(slice(0, height), slice(0, width))]
        else:
            stride = self.stride or self.window // 2
            places = [
                (rows, columns)
                for rows in windows(height, self.window, stride)
                for columns in windows(width, self.window, stride)
            ]
        views = tuple(normalize(self.features(resized[..., rows, columns]).float(), dim=1) for rows, columns in places)
        return PatchPrediction(self, (height, width), tuple(places), views)


@dataclass(frozen=True)
class PatchPrediction:
    """Unit vectors of the patches of B images, in each window.

    Args:
        predictor: gives the words' vectors
        size: height and width of the resized images
        places: rows and columns of each window
        views: [B, D, h, w] of each window
    """

    predictor: PatchPredictor
    size: tuple[int, int]
    places: tuple[tuple[slice, slice], ...]
    views: tuple[Tensor, ...]

    def select(self, image: int) -> PatchPrediction:
        return replace(self, views=tuple(view[image : image + 1] for view in self.views))

    def maps(self, vocabulary: Vocabulary) -> Tensor:
        """Probabilities [B, K, h, w]; a class has that of its best phrase."""
        words = self.predictor.clip.phrase_vectors(vocabulary.concepts)
        scores = [torch.einsum("bdhw,cd->bchw", view, words) for view in self.views]
        total = scores[0]
        if self.predictor.window is not None:
            total = scores[0].new_zeros(*scores[0].shape[:2], *self.size)
            counts = total.new_zeros(self.size)
            for (rows, columns), part in zip(self.places, scores, strict=True):
                total[..., rows, columns] += resize_maps(part, *total[..., rows, columns].shape[-2:])
                counts[rows, columns] += 1
            total /= counts
        return vocabulary.pool((self.predictor.scale * total).softmax(dim=1))
