"""GramCol of IMAP (Jun et al., CVPR 2026, arXiv 2603.02919): one column of the Gram matrix of the image's outputs.

In each head and frame:

    the image token whose query matches a word's key best      p = argmax_n <q_n, k_word>
    the map is that token's column                             <o_p, o_n> for every token n of the frame

The columns of all words are standardised at each token (their mean becomes 0, their deviation 1), then heads and layers
are averaged. The authors threshold each word's map; here a softmax over the classes makes maps that can be compared.

They made it for videos, and choose

    layers    whose self-attention mixes slowly: second eigenvalue above 0.7 (CogVideoX) or 0.75 (HunyuanVideo), mean of
              its heads
    heads     for words of motion: the 5 in which frames differ most (Calinski-Harabasz index of outputs by frame)
"""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import TINY, image_query, self_attention
from ca_seg.concept.readers.tokenrank import second_eigenvalue
from ca_seg.errors import UserError


def gramcol(features: ConceptFeatures, *, least_eigenvalue: float = 0.0, motion_heads: int = 0) -> torch.Tensor:
    """Class maps [B, K, h, w] (frames before h for a video) of a recording with queries.

    Args:
        features: as `ask` gives them
        least_eigenvalue: only layers with a larger second eigenvalue count, 0 to 1; where no layer has one, that with
            the largest. 0: all layers
        motion_heads: only so many heads of each layer count, those in which frames differ most; 0: all heads

    Raises:
        UserError: for heads by motion of an image, which has one frame
    """
    if motion_heads and features.grid.frames == 1:
        raise UserError("heads are chosen by motion, and an image has none", allowed="motion_heads for videos")
    scores = torch.stack([_columns(features, layer, motion_heads) for layer in features.layers])
    weights = layer_choice(features, least_eigenvalue)[..., None, None]
    mean = (scores * weights).sum(dim=0) / weights.sum(dim=0)
    pooled = features.vocabulary.pool(mean[..., None], dim=1)[..., 0].softmax(dim=1)
    return features.grid.unflatten(pooled).unflatten(0, (features.noised_copies, -1)).mean(dim=0)


def layer_choice(features: ConceptFeatures, least_eigenvalue: float) -> torch.Tensor:
    """Which layers count, 0 or 1: [layers, copies * B]."""
    rows = len(features.image[features.layers[0]].part("output"))
    if not least_eigenvalue:
        return torch.ones(len(features.layers), rows, device=features.image[features.layers[0]].part("output").device)
    chains = (self_attention(features.image[layer]) for layer in features.layers)
    values = torch.stack([second_eigenvalue(chain).mean(dim=1) for chain in chains])
    return ((values > least_eigenvalue) | (values == values.amax(dim=0))).float()


def frame_separability(output: torch.Tensor) -> torch.Tensor:
    """Calinski-Harabasz index of tokens grouped by frame: how much frames differ, for how much their tokens do.

    Args:
        output: [..., frames, tokens of a frame, d]

    Returns:
        [...]
    """
    frames, tokens = output.shape[-3:-1]
    centre = output.mean(dim=-2, keepdim=True)
    between = (centre - centre.mean(dim=-3, keepdim=True)).square().sum(dim=(-3, -2, -1)) * tokens
    within = (output - centre).square().sum(dim=(-3, -2, -1)).clamp_min(TINY)
    return (between / (frames - 1)) / (within / (frames * tokens - frames))


def _columns(features: ConceptFeatures, layer: int, motion_heads: int) -> torch.Tensor:
    """Standardised Gram columns of one layer, the mean over its heads: [copies * B, C, N]."""
    image, key = features.image[layer], features.concept[layer].part("key").float()
    frames = features.grid.frames
    query, output = (x.unflatten(2, (frames, -1)) for x in (image_query(image), image.part("output").float()))
    best = torch.einsum("bhfpd,bhcd->bhcfp", query, key).argmax(dim=-1)  # [B, heads, C, frames]
    index = best.transpose(2, 3)[..., None].expand(*best.transpose(2, 3).shape, output.shape[-1])
    proxy = output.gather(3, index)  # [B, heads, frames, C, d]
    columns = torch.einsum("bhfcd,bhfpd->bhcfp", proxy, output)
    centred = columns - columns.mean(dim=2, keepdim=True)
    if columns.shape[2] > 1:  # the deviation of a single word is not defined
        standard = centred / (columns.std(dim=2, keepdim=True) + 1e-6)
        differ = (best != best[:, :, :1]).any(dim=2)[:, :, None, :, None]  # of one token for all only rounding is left
        centred = torch.where(differ, standard, 0.0)
    if motion_heads:
        chosen = frame_separability(output).topk(min(motion_heads, output.shape[1]), dim=1).indices
        centred = centred.gather(1, chosen[..., None, None, None].expand(*chosen.shape, *centred.shape[2:]))
    return centred.mean(dim=1).flatten(2)
