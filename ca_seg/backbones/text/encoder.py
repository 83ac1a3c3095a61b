"""Words to embeddings: the interface of a text encoder, and the one of the backbones that ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.text.phrase_tokens import phrase_tokens
from ca_seg.backbones.text.tokens import check_length
from ca_seg.backbones.text.word_table import WordTable

MAX_WORDS = 512  # of a prompt from a word table; no card has more


class TextEncoder(Protocol):
    """A frozen text encoder. `prompt` encodes as the stock pipeline does; `concepts` gives one token per phrase."""

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        """Whole prompts: embeddings [B, T, d], and pooled vectors [B, p] if the family has them."""
        ...

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        """Phrases [1, C, d], each pooled to one token; a pooled vector is zero (paper, appendix on settings)."""
        ...

    def phrase_tokens(self, prompt: str, phrases: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """For a prompt that is made of phrases: the indices of the tokens of each. Raises UserError."""
        ...


def pool_tokens(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Phrase tokens [P, T, d] with mask [P, T] to [P, d]: the first token (as in the paper), the last, or the mean."""
    if pooling == "first":
        return hidden[torch.arange(len(hidden)), mask.long().argmax(dim=1)]
    if pooling == "last":
        indices = torch.arange(mask.shape[1]).expand_as(mask).masked_fill(~mask, -1)
        return hidden[torch.arange(len(hidden)), indices.amax(dim=1)]
    weights = mask.to(hidden)[..., None]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


class WordTableText:
    """The text encoder of the backbones that ship: one vector per word, from a table.

    Args:
        table: the words that can be asked
        taught: the words of the table that training taught; None: it is not known
    """

    def __init__(self, table: WordTable, taught: Sequence[str] | None = None) -> None:
        self.table, self.taught = table, None if taught is None else tuple(taught)

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        for prompt in prompts:
            check_length(prompt, len(self.table.tokens(prompt)), MAX_WORDS)
        hidden, mask = self.table.embed(list(prompts))
        return TextTokens(hidden, pool_tokens(hidden, mask, "mean"))

    def phrase_tokens(self, prompt: str, phrases: Sequence[str]) -> dict[str, tuple[int, ...]]:
        counts = [len(self.table.tokens(phrase)) for phrase in phrases]
        return phrase_tokens(prompt, phrases, counts, range(len(self.table.tokens(prompt))))

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        hidden, mask = self.table.embed(list(phrases))
        pooled = pool_tokens(hidden, mask, pooling)
        return TextTokens(pooled[None], torch.zeros(1, pooled.shape[1]))

    def unseen(self, phrases: Sequence[str]) -> dict[str, str] | None:
        """The phrases with a word that training never taught, each with the taught word that is nearest in meaning.

        None where it is not known what training taught. Raises UnknownName, as `WordTable.check` does.
        """
        if self.taught is None:
            return None
        taught = set(self.taught)
        unseen = [phrase for phrase in phrases if not taught.issuperset(self.table.tokens(phrase))]
        return {phrase: self.table.nearest(phrase, self.taught, 1)[0] for phrase in unseen}
