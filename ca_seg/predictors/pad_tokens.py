"""Parts of an image from the padding of an empty prompt: Seg4Diff's maps without words (arXiv 2509.18096, section 4.3).

    empty prompt ──► start, end and <pad> tokens, 1 .. T
    attention of the image to each of them, mean over heads ──► scaled to 0..1 over the image ──► T maps
    softmax over the image ──► maps with a symmetric KL divergence below 0.035 become one ──► the largest at each token

The groups are made greedily, in the order of the tokens, each around its first map. A model that pads its prompt, and
lets the image attend to the padding, can be read so: Stable Diffusion 3, FLUX.1. The word tables of `mini` and `photo`
have no padding.
"""

from __future__ import annotations

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.noise import noise_levels, noised_latents
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import OutOfRange, UserError

SAME = 0.035  # divergence below which two maps are one part (the authors' evaluation)
TINY = 1e-6


def pad_clusters(
    backbone: Backbone, image: torch.Tensor, config: ReadoutConfig, seed: int, same: float = SAME
) -> torch.Tensor:
    """The part of each image token.

    Args:
        backbone: one that pads its prompts
        image: [1, 3, H, W] in 0..1
        config: its layers, timesteps and noise samples
        seed: of the noise
        same: maps with a divergence below this are one part, 0 or more; higher: fewer parts

    Returns:
        int64 [h, w], 0 for the largest part, then 1, 2 ...

    Raises:
        UserError: for a backbone whose empty prompt has no padding to attend to
    """
    if not same >= 0:
        raise OutOfRange(f"a divergence of {same}", allowed="0 or more")
    maps = pad_attention(backbone, image, config, seed)
    height, width = maps.shape[1:]
    numbers = merged_maps(maps.flatten(1), same).argmax(dim=0)
    order = torch.bincount(numbers).argsort(descending=True, stable=True)
    return order.argsort()[numbers].reshape(height, width)


def padding(backbone: Backbone) -> tuple[int, ...]:
    """The tokens of the empty prompt that the image attends to; fewer than two where the backbone does not pad."""
    return tuple(backbone.text.prompt([""]).mask_or_ones(torch.float32)[0].nonzero()[:, 0].tolist())


def pad_attention(backbone: Backbone, image: torch.Tensor, config: ReadoutConfig, seed: int) -> torch.Tensor:
    """Attention of the image to the T tokens of an empty prompt, the mean over heads, layers and copies: [T, h, w].

    Raises UserError as `pad_clusters` does.
    """
    with torch.no_grad():
        text = backbone.text.prompt([""])
        attended = padding(backbone)
        if len(attended) < 2:
            raise UserError(
                f"the empty prompt of {backbone.card.name} has no padding",
                allowed="backbones that pad their prompts, such as sd3-medium and flux1-schnell",
                fix="take parts by outputs",
            )
        times, samples = noise_levels(backbone.card, config.timesteps, config.noise_samples)
        latents = backbone.encode(image)
        levels = torch.tensor(times, device=latents.device, dtype=latents.dtype)
        noised = noised_latents(backbone.family, backbone.scheduler, latents, levels, samples, [seed])
        layers = config.layers or backbone.card.layers
        copies = len(noised)
        on_device = text.each(lambda x: x.to(latents.device, latents.dtype if x.is_floating_point() else x.dtype))
        recording = backbone.record_latents(
            noised,
            on_device.each(lambda x: x.repeat(copies, *[1] * (x.ndim - 1))),
            levels.repeat_interleave(samples),
            noised_copies=copies,
            layers=layers,
            prompt_tokens=[{"": attended}] * copies,
        )
        assert recording.prompt is not None
        words = torch.stack([recording.prompt.words[layer].mean(dim=(0, 1)) for layer in layers]).mean(dim=0)
        return recording.grid.unflatten(words[list(attended)].float())


def merged_maps(maps: torch.Tensor, same: float = SAME) -> torch.Tensor:
    """Maps [T, N] of tokens to those of groups [M, N], M at most T; each sums to 1."""
    low = maps.amin(dim=1, keepdim=True)
    probabilities = ((maps - low) / ((maps - low).amax(dim=1, keepdim=True) + TINY)).softmax(dim=1)
    logarithms, free = probabilities.log(), torch.ones(len(maps), dtype=torch.bool, device=maps.device)
    groups = []
    for first in range(len(maps)):
        if not free[first]:
            continue
        difference = (probabilities[first] - probabilities) * (logarithms[first] - logarithms)
        near = difference.sum(dim=1) / 2 < same
        near[first] = True
        free &= ~near
        groups.append(probabilities[near].mean(dim=0))
    return torch.stack(groups)
