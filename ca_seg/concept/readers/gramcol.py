"""GramCol of IMAP (Jun et al., CVPR 2026, arXiv 2603.02919): one column of the Gram matrix of the image's outputs.

In each head and frame:

    the image token whose query matches a word's key best      p = argmax_n <q_n, k_word>
    the map is that token's column                             <o_p, o_n> for every token n of the frame

The columns of all words are standardised at each token (their mean becomes 0, their deviation 1), then heads and layers
are averaged. The authors threshold each word's map; here a softmax over the classes makes maps that can be compared.
They made it for videos, and choose layers and heads by scores of which `layers` is the only one here.
"""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import image_query


def gramcol(features: ConceptFeatures) -> torch.Tensor:
    """Class maps [B, K, h, w] (frames before h for a video) of a recording with queries."""
    layers = [_columns(features, layer) for layer in features.layers]
    scores = features.vocabulary.pool(torch.stack(layers).mean(dim=0)[..., None], dim=1)[..., 0].softmax(dim=1)
    return features.grid.unflatten(scores).unflatten(0, (features.noised_copies, -1)).mean(dim=0)


def _columns(features: ConceptFeatures, layer: int) -> torch.Tensor:
    """Standardised Gram columns of one layer, the mean over heads: [copies * B, C, N]."""
    image, key = features.image[layer], features.concept[layer].part("key").float()
    frames = features.grid.frames
    query, output = (x.unflatten(2, (frames, -1)) for x in (image_query(image), image.part("output").float()))
    best = torch.einsum("bhfpd,bhcd->bhcfp", query, key).argmax(dim=-1)  # [B, heads, C, frames]
    index = best.transpose(2, 3)[..., None].expand(*best.transpose(2, 3).shape, output.shape[-1])
    proxy = output.gather(3, index)  # [B, heads, frames, C, d]
    columns = torch.einsum("bhfcd,bhfpd->bhcfp", proxy, output)
    centred = columns - columns.mean(dim=2, keepdim=True)
    if columns.shape[2] == 1:  # the deviation of a single word is not defined
        return centred.mean(dim=1).flatten(2)
    standard = centred / (columns.std(dim=2, keepdim=True) + 1e-6)
    differ = (best != best[:, :, :1]).any(dim=2)[:, :, None, :, None]  # where all have one token, only rounding is left
    return torch.where(differ, standard, 0.0).mean(dim=1).flatten(2)
