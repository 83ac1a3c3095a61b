"""Mask proposals from CLIP's gradients and attention (CLIP-ES, Lin et al. 2023): the first half of CLIP-as-RNN.

    patches before the last block ──► last block ──► mean of the patches ──► probability of each phrase
                    ▲                                                                 │
                    └───────────── gradient, its mean per channel ◄───────────────────┘
    GradCAM = relu(Σ over channels: mean gradient · activation)        at the last block's first layer norm
    refined = T² · GradCAM inside boxes around its high parts, T from the attention of the last 8 blocks

A phrase's probability is among all phrases that are still in the race and the background words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ca_seg.methods.clip.encoders import ClipEncoders
from ca_seg.methods.clip.patches import grid_size, heads_of, hidden_input

ATTENTION_LAYERS = 8  # the last ones


def proposals(clip: ClipEncoders, image: Tensor, words: Tensor, background: Tensor, threshold: float) -> Tensor:
    """Refined GradCAMs of phrases.

    Args:
        clip: the encoders
        image: [1, 3, H, W] in 0..1, the sides multiples of the patch
        words: vectors of C phrases [C, D]
        background: vectors of background words [N, D], which compete with the phrases
        threshold: 0..1, the part of a GradCAM's highest value from which on a patch is boxed

    Returns:
        [C, h, w], each 0..1 with the highest value 1, or 0 everywhere
    """
    block, attention = last_block(clip, image)
    grid = grid_size(image, clip.patch)
    transition = transition_matrix(attention)
    rivals = torch.cat([words, background])
    maps = []
    for index in range(len(words)):
        cam = block.grad_cam(rivals, index).view(grid)
        if cam.max() == 0:
            cam = block.grad_cam(words, index).view(grid)
        boxed = boxes(cam, threshold).flatten()
        maps.append(min_max((transition * boxed) @ cam.flatten()).view(grid))
    return torch.stack(maps)


class LastBlock:
    """The last block of the image encoder at its input for one image.

    Args:
        clip: the encoders
        args: what the block was called with
        kwargs: the same, by name
    """

    def __init__(self, clip: ClipEncoders, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.clip, self.args, self.kwargs = clip, args, kwargs

    @torch.enable_grad()
    def grad_cam(self, words: Tensor, index: int) -> Tensor:
        """GradCAM [N] of the probability of one phrase among those of `words` [C, D], 0..1."""
        vision, model = self.clip.model.vision_model, self.clip.model
        block, activations = vision.encoder.layers[-1], []

        def start_here(module: Any, args: Any, output: Tensor) -> Tensor:
            activations.append(output.detach().requires_grad_())
            return activations[0]

        handle = block.layer_norm1.register_forward_hook(start_here)
        try:
            output = block(*self.args, **self.kwargs)
        finally:
            handle.remove()
        states = output[0] if isinstance(output, tuple) else output  # a tuple before transformers 5
        vector = model.visual_projection(vision.post_layernorm(states)[:, 1:].mean(dim=1))
        logits = model.logit_scale.exp() * normalize(vector, dim=-1) @ words.to(vector).T
        (gradient,) = torch.autograd.grad(logits.float().softmax(dim=-1)[0, index], activations[0])
        weights = gradient[0, 1:].float().mean(dim=0)
        return min_max((activations[0][0, 1:].detach().float() @ weights).clamp_min(0))


@torch.no_grad()
def last_block(clip: ClipEncoders, image: Tensor) -> tuple[LastBlock, Tensor]:
    """The last block at its input, and the attention among patches [N, N], the mean over heads and the last blocks."""
    layers = clip.model.vision_model.encoder.layers
    attention: list[Tensor] = []

    def record(module: Any, args: Any, kwargs: Any) -> None:
        query, key, _ = heads_of(module, hidden_input(args, kwargs))
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).float().softmax(dim=-1)
        attention.append(weights[0, :, 1:, 1:].mean(dim=0))

    handles = [
        layer.self_attn.register_forward_pre_hook(record, with_kwargs=True) for layer in layers[-ATTENTION_LAYERS:]
    ]
    try:
        args, kwargs = last_block_call(clip, image)
    finally:
        for handle in handles:
            handle.remove()
    return LastBlock(clip, args, kwargs), torch.stack(attention).mean(dim=0)


@torch.no_grad()
def last_block_call(clip: ClipEncoders, images: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the image encoder's last block is called with for images [B, 3, H, W] in 0..1."""
    vision = clip.model.vision_model
    calls: list[tuple[Any, Any]] = []
    handle = vision.encoder.layers[-1].register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    try:
        vision(clip.normalised(images), interpolate_pos_encoding=True)
    finally:
        handle.remove()
    return calls[0]


def transition_matrix(attention: Tensor) -> Tensor:
    """Attention [N, N] made nearly doubly stochastic (Sinkhorn, three rounds), symmetric, and squared."""
    for _ in range(3):
        attention = attention / attention.sum(dim=0, keepdim=True)
        attention = attention / attention.sum(dim=1, keepdim=True)
    symmetric = (attention + attention.T) / 2
    return symmetric @ symmetric


def boxes(cam: Tensor, threshold: float) -> Tensor:
    """1 inside the boxes around connected parts of a GradCAM [h, w] in 0..1 above `threshold` of its highest, else 0.

    The last row and column are in no box, as in the code of CLIP-ES.
    """
    import cv2

    height, width = cam.shape
    levels = (cam * 255).byte().cpu().numpy()
    parts = cv2.connectedComponentsWithStats((levels > int(threshold * levels.max())).astype("uint8"), connectivity=8)
    inside = torch.zeros(height, width)
    for left, top, columns, rows, _ in parts[2][1:]:  # the first part is what is not above
        inside[top : min(top + rows, height - 1), left : min(left + columns, width - 1)] = 1
    return inside.to(cam)


def min_max(values: Tensor) -> Tensor:
    """Scaled so that the lowest value is 0 and the highest 1; values that are all equal become 0."""
    shifted = values - values.min()
    return shifted / shifted.max().clamp_min(1e-15)
