"""What one cross-attention computed: image queries and text keys, and the attention that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ca_seg.concept.grid import Grid


@dataclass(frozen=True)
class CrossAttention:
    """One layer's attention of B rows of N image tokens to T text tokens.

    Attributes:
        name: of the module in the denoiser, such as "up_blocks.1.attentions.0.transformer_blocks.0.attn2"
        grid: of the image tokens; in a U-Net it differs between layers
        query: [B, heads, N, d], after its norm
        key: [B, heads, T, d], after its norm
        mask: as the stock model gives it to the kernel, broadcast to [B, heads, N, T]; None: every token is attended to
        scale: of the products; None: 1 / sqrt(d)
        output: [B, heads, N, d], the attention's result before its output projection; None if it was not kept
    """

    name: str
    grid: Grid
    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None = None
    scale: float | None = None
    output: torch.Tensor | None = None

    def probabilities(self, tokens: Sequence[int] | None = None, among: Sequence[int] | None = None) -> torch.Tensor:
        """softmax(q k scale + mask) over the text tokens, in float32.

        Args:
            tokens: which text tokens to return (default: all)
            among: the text tokens of the softmax (default: all T, padding included, as in the stock model); it must
                hold `tokens`

        Returns:
            [B, heads, len(tokens), N]
        """
        scale = self.query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = torch.einsum("bhnd,bhtd->bhtn", self.query.float() * scale, self.key.float())
        if self.mask is not None:
            mask = self.mask.expand(*self.mask.shape[:-2], self.query.shape[2], self.key.shape[2]).mT
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask.float()
        chosen = list(range(scores.shape[2])) if tokens is None else list(tokens)
        if among is not None:
            position = {token: index for index, token in enumerate(among)}
            scores, chosen = scores[:, :, list(among)], [position[token] for token in chosen]
        return scores.softmax(dim=2)[:, :, chosen]

    def maps(self, tokens: Sequence[int] | None = None, among: Sequence[int] | None = None) -> torch.Tensor:
        """`probabilities` on the grid: [B, heads, len(tokens), h, w] (frames before h for a video)."""
        return self.grid.unflatten(self.probabilities(tokens, among))

    def of_text(self, other: CrossAttention) -> CrossAttention:
        """These image queries with the keys of another text (Marcos-Manchon et al. 2024, section 3.2).

        Args:
            other: one row per timestep; the rows here are timestep by timestep, the same number of each
        """
        repeats = len(self.query) // len(other.key)
        mask = None if other.mask is None else other.mask.repeat_interleave(repeats, dim=0)
        return replace(self, key=other.key.repeat_interleave(repeats, dim=0), mask=mask, output=None)

    def rows(self, chosen: slice) -> CrossAttention:
        """Some rows of the batch; tensors are not copied."""

        def cut(x: Any) -> Any:
            return x[chosen] if isinstance(x, torch.Tensor) and len(x) == len(self.query) else x

        parts = {name: cut(getattr(self, name)) for name in ("query", "key", "mask", "output")}
        return replace(self, **parts)
