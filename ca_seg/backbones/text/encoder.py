"""Words to embeddings: what a backbone needs of its text side, and the shipped one's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.text.word_table import WordTable


class TextEncoder(Protocol):
    """Frozen. `prompt` is what the stock pipeline would feed; `concepts` gives one token per phrase."""

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        """[B, T, d] embeddings, and pooled vectors [B, p] where the family has them, of whole prompts."""
        ...

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        """[1, C, d]: each phrase's tokens pooled to one; a pooled vector is zero (paper, appendix on settings)."""
        ...


def pool_tokens(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Phrase tokens [P, T, d] with mask [P, T] to [P, d]: the first (the paper's), the last, or the mean token."""
    if pooling == "first":
        return hidden[torch.arange(len(hidden)), mask.long().argmax(dim=1)]
    if pooling == "last":
        places = torch.arange(mask.shape[1]).expand_as(mask).masked_fill(~mask, -1)
        return hidden[torch.arange(len(hidden)), places.amax(dim=1)]
    weights = mask.to(hidden)[..., None]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


class WordTableText:
    """The shipped backbones' text side: one vector per word, from a table."""

    def __init__(self, table: WordTable) -> None:
        self.table = table

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        hidden, mask = self.table.embed(list(prompts))
        return TextTokens(hidden, pool_tokens(hidden, mask, "mean"))

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        hidden, mask = self.table.embed(list(phrases))
        pooled = pool_tokens(hidden, mask, pooling)
        return TextTokens(pooled[None], torch.zeros(1, pooled.shape[1]))
