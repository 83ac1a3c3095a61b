"""Which tokens of an encoded text are the text's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.errors import UserError


def own_tokens(tokenizer: Any, texts: Sequence[str], length: int) -> torch.Tensor:
    """bool [texts, length]: where each text's own tokens are when it is padded to `length` on the right.

    Start, end and padding tokens are not the text's own; an empty text has its first token (what the encoder makes of
    nothing). Raises UserError for a text that does not fit, with its beginning.
    """
    rows = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in zip(rows, texts, strict=True):
        ids = list(tokenizer(text).input_ids)
        if len(ids) > length:
            raise UserError(
                f"the text {shortened(text)!r} has {len(ids)} tokens", allowed=f"at most {length}", fix="shorten it"
            )
        special = set(tokenizer.all_special_ids)
        places = [place for place, token in enumerate(ids) if token not in special]
        row[places or [0]] = True
    return rows


def shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
