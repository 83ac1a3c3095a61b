"""Which tokens of an encoded text are its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.errors import UserError

SHOWN_LETTERS = 40  # of a text in an error


def check_length(text: str, tokens: int, length: int) -> None:
    """Raises UserError, with the beginning of `text`, if it has more than `length` tokens."""
    if tokens > length:
        what = f"the text {shortened(text)!r} is too long for the text encoder: {tokens} tokens"
        raise UserError(what, allowed=f"at most {length}", fix="shorten it")


def word_tokens(tokenizer: Any, texts: Sequence[str], length: int) -> torch.Tensor:
    """Which tokens are words when each text is padded to `length` on the right.

    Start, end and padding tokens are not words. An empty text keeps its first token: what the encoder makes of nothing.

    Returns:
        bool [texts, length]

    Raises:
        UserError: for a text of more than `length` tokens
    """
    rows = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in zip(rows, texts, strict=True):
        ids = list(tokenizer(text).input_ids)
        check_length(text, len(ids), length)
        row[word_indices(tokenizer, ids) or [0]] = True
    return rows


def word_indices(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """The indices of the tokens that are not special (start, end, padding)."""
    special = set(tokenizer.all_special_ids)
    return [index for index, token in enumerate(ids) if token not in special]


def shortened(text: str) -> str:
    """The beginning of a text, for an error."""
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}..."
