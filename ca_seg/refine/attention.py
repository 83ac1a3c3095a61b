"""Scores spread along the model's own self-attention: image tokens that attend to each other get similar scores.

With the queries q and keys k of one recorded layer, N image tokens, h heads of width d:

    A = mean over heads of softmax(q k^T / sqrt(d))       [N, N], each row sums to 1
    scores <- A^p scores                                  each token takes the scores of those it attends to, p times

The softmax is over image tokens only: prompt and concepts have no scores. Wang et al., "Diffusion Model is Secretly a
Training-free Open Vocabulary Semantic Segmenter" (2023), refine the maps of a UNet in this way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ca_seg.errors import OutOfRange, UserError
from ca_seg.refine.shapes import check_scores

CHUNK_TOKENS = 256  # query tokens at a time


def propagate(
    scores: Tensor, query: Tensor, key: Tensor, *, power: int = 1, scale: float | None = None, chunk: int = CHUNK_TOKENS
) -> Tensor:
    """Scores spread along the self-attention of the image tokens.

    Probabilities stay probabilities, and a map that is the same everywhere is unchanged. A is never in memory as N x N:
    it takes B * heads * chunk * N numbers (100 MB for 24 heads and 4,096 tokens).

    Args:
        scores: float [B, K, h, w]
        query: [B, heads, N, d] with N = h * w in reading order, as recorded (after norms and rotary embedding)
        key: likewise
        power: how often the scores are spread, 0 or more; 0 changes nothing
        scale: in place of 1 / sqrt(d), for models that use another
        chunk: rows of A at a time, 1 or more

    Returns:
        [B, K, h, w], float32 or wider

    Raises:
        UserError: for shapes that do not fit
        OutOfRange: for a power below 0 or a chunk below 1
    """
    check_scores(scores)
    if query.ndim != 4 or query.shape != key.shape or len(query) != len(scores):
        raise UserError(
            f"queries of shape {tuple(query.shape)} and keys of shape {tuple(key.shape)}",
            allowed=f"[{len(scores)}, heads, tokens, head_dim] both",
        )
    if query.shape[2] != scores.shape[2] * scores.shape[3]:
        raise UserError(
            f"attention over {query.shape[2]} tokens for scores of {scores.shape[2]} x {scores.shape[3]} cells",
            fix="give maps on the grid of tokens they were read from, not resized",
        )
    if power < 0:
        raise OutOfRange(f"attention to the power of {power}", allowed="0 or more")
    if chunk < 1:
        raise OutOfRange(f"a chunk of {chunk} tokens", allowed="1 or more")
    wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
    query, key, rows = query.to(wide), key.to(wide), scores.to(wide).flatten(2).transpose(1, 2)
    for _ in range(power):
        value = rows[:, None].expand(-1, query.shape[1], -1, -1)
        parts = [scaled_dot_product_attention(q, key, value, scale=scale).mean(1) for q in query.split(chunk, dim=2)]
        rows = torch.cat(parts, dim=1)
    return rows.transpose(1, 2).unflatten(2, scores.shape[-2:])
