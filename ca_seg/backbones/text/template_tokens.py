"""Which tokens are words where a pipeline puts a text into a chat template.

<start> system ... <end> <start> user \\n\\n   red  cat  <end> <pad> <pad>
└──────── dropped by the pipeline ─────────┘  word  word
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.text.tokens import check_length


def words_in_template(tokenizer: Any, template: str, texts: Sequence[str], dropped: int, length: int) -> torch.Tensor:
    """Which tokens of a filled template are words of the text.

    The tokenizer says which characters each token stands for. Tokens that overlap the text are its words. An empty text
    gets the first token.

    Args:
        tokenizer: a fast tokenizer that pads on the right
        template: with one `{}` for the text
        texts: what is put into the template
        dropped: how many of the template's first tokens the pipeline removes
        length: tokens after these are removed

    Returns:
        bool [texts, length]

    Raises:
        UserError: for a text that does not fit
    """
    rows, start = torch.zeros(len(texts), length, dtype=torch.bool), template.index("{}")
    for row, text in zip(rows, texts, strict=True):
        spans = tokenizer(template.format(text), return_offsets_mapping=True)["offset_mapping"][dropped:]
        check_length(text, len(spans), length)
        end = start + len(text)
        words = [index for index, (first, last) in enumerate(spans) if max(first, start) < min(last, end)]
        row[words or [0]] = True
    return rows


def words_by_difference(ids: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """Which tokens of a filled template [T] are missing in the template of an empty text [E]: bool [T].

    For chat templates that only a tokenizer can fill. The common beginning and the common end are the template. An
    empty text gets the last token.
    """
    shorter = min(len(ids), len(empty))
    same = ids[:shorter] == empty[:shorter]
    start = shorter if bool(same.all()) else int((~same).int().argmax())
    same = ids.flip(0)[: shorter - start] == empty.flip(0)[: shorter - start]
    end = len(same) if bool(same.all()) else int((~same).int().argmax())
    is_word = torch.zeros(len(ids), dtype=torch.bool)
    is_word[start : len(ids) - end] = True
    if not is_word.any():
        is_word[-1] = True
    return is_word
