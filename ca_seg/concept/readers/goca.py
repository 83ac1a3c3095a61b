"""GoCA (Meng et al., CVPR 2026, arXiv 2603.06178): weights of heads and layers from the model's own activations.

    words' attention of a layer [heads, T, N]
        heads      weighted at each token by <contribution of the head, output of the block>, both projected
        layers     weighted by <self-attention of the layer, softmax(f f^T / sqrt(width))>, f: the block's output
        phrases    mean over their tokens
        rescaling  at each image token the words of the prompt sum to 1: what goes to <pad>, end and other tokens does
                   not count; then smoothed (5 x 5), and each phrase scaled to 0..1 over the image

The authors average heads in FLUX, whose single-stream blocks have no output projection of the attention alone, and
weight them in SD and SDXL, where negative weights stay. Here heads are weighted wherever there is a projection, and
negative weights are 0 (an option of the authors' code too). Their affinity step afterwards is not part of it.
"""

from __future__ import annotations

import torch

from ca_seg.concept.blur import blurred
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import TINY, class_shares, self_attention
from ca_seg.concept.record import Stream

BLUR = 5  # tokens of a side
SIGMA = 1.1


def goca(
    features: ConceptFeatures, *, weigh_heads: bool = True, weigh_layers: bool = True, rescale: bool = True
) -> torch.Tensor:
    """Class maps [B, K, h, w].

    Args:
        features: of a recording with queries, and with the attention to the prompt
        weigh_heads: by the agreement of their contributions with the block's output; otherwise their mean
        weigh_layers: by the agreement of their self-attention with that of dense features; otherwise their mean
        rescale: the words of the prompt sum to 1 at each token, then each phrase is scaled to 0..1
    """
    prompt = features.prompt
    assert prompt is not None
    reference = dense_affinity(features.image[features.layers[-1]]) if weigh_layers else None
    attentions, weights = [], []
    for layer in features.layers:
        stream, words, projection = features.image[layer], prompt.words[layer], prompt.projections[layer]
        if weigh_heads and projection is not None:
            words = words * head_weights(stream.part("output").float(), projection.float())[:, :, None]
            attentions.append(words.sum(dim=1))
        else:
            attentions.append(words.mean(dim=1))
        weight = torch.ones(len(words), device=words.device)
        if reference is not None:
            affinity = (self_attention(stream) * prompt.image_share[layer][..., None]).mean(dim=1)
            weight = (reference * affinity).sum(dim=(1, 2)).clamp_min(0)
        weights.append(weight[:, None, None])
    total = sum((a * w for a, w in zip(attentions, weights, strict=True)), torch.zeros(())) / sum(weights)
    scores = prompt.of_phrases(total, features.vocabulary.concepts)
    if rescale:
        scores = rescaled(features, scores, _words_sum(features, total))
    return class_shares(features, scores)


def head_weights(output: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """How much each head agrees with the whole block at each token (the authors' "dot-product").

    Args:
        output: attention output of the image [B, heads, N, d]
        projection: weight of the output projection [width, heads * d]

    Returns:
        [B, heads, N], 0 or more, sums to 1 over heads (all 1 where no head agrees)
    """
    heads = output.shape[1]
    by_head = torch.einsum("bhnd,whd->bhnw", output, projection.unflatten(1, (heads, -1)))
    agreement = (by_head * by_head.sum(dim=1, keepdim=True)).sum(dim=-1).clamp_min(0)
    total = agreement.sum(dim=1, keepdim=True)
    return torch.where(total > 0, agreement / total.clamp_min(TINY), 1.0)


def dense_affinity(stream: Stream) -> torch.Tensor:
    """Pseudo self-attention of dense features f [B, N, width], the attention outputs: softmax(f f^T / sqrt(width))."""
    dense = stream.part("output").float().transpose(1, 2).flatten(2)
    return (dense @ dense.transpose(1, 2) / dense.shape[2] ** 0.5).softmax(dim=-1)


def rescaled(features: ConceptFeatures, scores: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Scores [B, C, N] divided by the sum over the prompt's words [B, N], smoothed, and scaled to 0..1 per phrase."""
    shares = features.grid.unflatten(scores / words[:, None].clamp_min(TINY))
    smooth = blurred(shares, BLUR, SIGMA).flatten(2)
    low, high = smooth.amin(dim=2, keepdim=True), smooth.amax(dim=2, keepdim=True)
    return (smooth - low) / (high - low).clamp_min(TINY)


def _words_sum(features: ConceptFeatures, attention: torch.Tensor) -> torch.Tensor:
    """[B, N]: the attention to all tokens of the prompt that belong to phrases."""
    assert features.prompt is not None
    content = [sorted({t for indices in row.values() for t in indices}) for row in features.prompt.tokens]
    return torch.stack([part[indices].sum(dim=0) for part, indices in zip(attention, content, strict=True)])
