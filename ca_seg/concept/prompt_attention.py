"""How much the image attends to the words of its prompt: recorded beside the image streams, for readers of the prompt.

              prompt                            image
              a   cat   on   grass  <pad> ...   0 .. N-1
    token n   .   0.3   .    0.1      .         |- image_share -|     softmax over the whole row
                   │          │
                  words: the columns of the tokens that belong to a phrase

N x N is never in memory: rows of the attention are computed in chunks, and only the columns of words are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from ca_seg.concept.record import add_rows, repeat_kv
from ca_seg.errors import UserError

CHUNK_TOKENS = 256  # image tokens at a time

Tokens = Mapping[str, tuple[int, ...]]  # by phrase: the indices of its tokens in the prompt


@dataclass(frozen=True)
class PromptAttention:
    """The softmaxed attention of image tokens to the words of their prompts.

    Args:
        tokens: by row of the batch, the tokens of each phrase; they are rows of `words`
        words: by layer, [rows, heads, T, N] for the T tokens of the prompt up to the last word
        image_share: by layer, [rows, heads, N], how much of its attention an image token gives to image tokens
        projections: by layer, the weight [width, heads * head_dim] of the output projection of the image's attention;
            None where a block has none of its own
    """

    tokens: tuple[Tokens, ...]
    words: tuple[torch.Tensor, ...]
    image_share: tuple[torch.Tensor, ...]
    projections: tuple[torch.Tensor | None, ...]

    def rows(self, chosen: slice | torch.Tensor) -> PromptAttention:
        """That of some rows of the batch, by a slice (tensors are not copied) or by indices."""
        rows = range(len(self.tokens))[chosen] if isinstance(chosen, slice) else chosen.tolist()
        return replace(self.each(lambda x: x[chosen]), tokens=tuple(self.tokens[row] for row in rows))

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PromptAttention:
        """The same with every tensor of rows changed."""
        return replace(self, words=tuple(map(change, self.words)), image_share=tuple(map(change, self.image_share)))

    def of_phrases(self, attention: torch.Tensor, phrases: Sequence[str]) -> torch.Tensor:
        """The mean over the tokens of each phrase; zeros for a phrase that is not in the prompt.

        Args:
            attention: [rows, ..., T, N], of one layer or of several together
            phrases: C phrases

        Returns:
            [rows, ..., C, N]

        Raises:
            UserError: for a prompt with none of the phrases
        """
        result = attention.new_zeros(*attention.shape[:-2], len(phrases), attention.shape[-1])
        for row, tokens in enumerate(self.tokens):
            if not any(phrase in tokens for phrase in phrases):
                raise UserError("the prompt has none of the words that are asked", allowed="prompt: all, or present")
            for index, phrase in enumerate(phrases):
                if phrase in tokens:
                    result[row, ..., index, :] = attention[row][..., list(tokens[phrase]), :].mean(dim=-2)
        return result


class PromptAttentionRecorder:
    """Sees queries and keys of each joint attention, and keeps what `PromptAttention` has.

    Args:
        tokens: by row, the tokens of each phrase in the prompt
        image_tokens: N
        text_first: the joint sequence is [registers, prompt, image]; otherwise [image, prompt]
        registers: learned tokens before the prompt
        last_layer: later layers are not looked at
    """

    def __init__(
        self, tokens: Sequence[Tokens], *, image_tokens: int, text_first: bool, registers: int, last_layer: int
    ) -> None:
        self.tokens, self.last_layer = tuple(tokens), last_layer
        self.image = slice(-image_tokens, None) if text_first else slice(0, image_tokens)
        self.first = registers if text_first else image_tokens  # the prompt's first token in the sequence
        length = 1 + max((index for row in tokens for indices in row.values() for index in indices), default=0)
        self.prompt = slice(self.first, self.first + length)
        self.words: list[torch.Tensor] = []
        self.image_share: list[torch.Tensor] = []

    def __call__(self, layer: int, query: torch.Tensor, key: torch.Tensor, options: Mapping[str, Any]) -> None:
        """One layer, or rows of it: query and key [rows, heads, tokens, head_dim], and the options of the kernel."""
        if layer > self.last_layer:
            return
        key = repeat_kv(key, query.shape[1]).float()
        scale = options.get("scale") or query.shape[-1] ** -0.5
        mask = _additive(options.get("attn_mask"), query)
        words, share = [], []
        positions = torch.arange(query.shape[2], device=query.device)[self.image]
        for part in positions.split(CHUNK_TOKENS):
            scores = query[:, :, part].float() @ key.transpose(2, 3) * scale
            if mask is not None:
                scores = scores + (mask if mask.shape[-2] == 1 else mask[..., part, :])
            attention = scores.softmax(dim=-1)
            words.append(attention[..., self.prompt])
            share.append(attention[..., self.image].sum(dim=-1))
        of_words = torch.cat(words, dim=2).transpose(2, 3)
        missing = self.prompt.stop - self.prompt.start - of_words.shape[2]  # of rows without their padding
        add_rows(self.words, layer, pad(of_words, (0, 0, 0, missing)), _joined)
        add_rows(self.image_share, layer, torch.cat(share, dim=2), _joined)

    def result(self, attentions: Sequence[nn.Module]) -> PromptAttention:
        """What was recorded of the first of these attentions."""
        projections = tuple(map(_projection, attentions[: len(self.words)]))
        return PromptAttention(self.tokens, tuple(self.words), tuple(self.image_share), projections)


def _joined(first: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.cat((first, others))


def _projection(attention: nn.Module) -> torch.Tensor | None:
    """The weight of the output projection of the image's attention; None in single-stream blocks."""
    projection = getattr(attention, "to_out", None)
    first = projection[0] if isinstance(projection, nn.ModuleList | nn.Sequential) else None
    return first.weight if isinstance(first, nn.Linear) else None


def _additive(mask: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """A mask of the attention kernel as numbers to add: a bool mask says where attention is allowed."""
    if mask is None:
        return None
    if mask.dtype is torch.bool:
        mask = torch.zeros(mask.shape, device=query.device).masked_fill(~mask, float("-inf"))
    return mask.float()
