"""Which tokens are a text's own where a pipeline puts it into a chat template.

<start> system ... <end> <start> user \\n\\n   red  cat  <end> <pad> <pad>
└──────── dropped by the pipeline ─────────┘   own  own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.text.tokens import shortened
from ca_seg.errors import UserError


def own_in_template(tokenizer: Any, template: str, texts: Sequence[str], dropped: int, length: int) -> torch.Tensor:
    """bool [texts, length]: where each text's own tokens are in `template`, after its first `dropped` tokens are cut.

    `template` holds the text at its one `{}`, and is padded on the right. The tokenizer says which characters each of
    its tokens stands for; those that touch the text are its own. An empty text has the first token. Raises UserError
    for a text that does not fit, with its beginning.
    """
    rows, start = torch.zeros(len(texts), length, dtype=torch.bool), template.index("{}")
    for row, text in zip(rows, texts, strict=True):
        spans = tokenizer(template.format(text), return_offsets_mapping=True)["offset_mapping"][dropped:]
        if len(spans) > length:
            raise UserError(
                f"the text {shortened(text)!r} has {len(spans)} tokens", allowed=f"at most {length}", fix="shorten it"
            )
        end = start + len(text)
        own = [place for place, (first, last) in enumerate(spans) if max(first, start) < min(last, end)]
        row[own or [0]] = True
    return rows


def own_by_difference(ids: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """bool [T]: the tokens of a filled template, [T], that the template of an empty text, [E], does not have.

    For chat templates that only a tokenizer can fill. What both begin with, and what both end with, is the template; of
    an empty text the last token counts as its own.
    """
    shorter = min(len(ids), len(empty))
    same = ids[:shorter] == empty[:shorter]
    start = shorter if bool(same.all()) else int((~same).int().argmax())
    same = ids.flip(0)[: shorter - start] == empty.flip(0)[: shorter - start]
    end = len(same) if bool(same.all()) else int((~same).int().argmax())
    own = torch.zeros(len(ids), dtype=torch.bool)
    own[start : len(ids) - end] = True
    if not own.any():
        own[-1] = True
    return own
